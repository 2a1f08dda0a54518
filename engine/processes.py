"""Work mapped over items by processes of this machine, each of which takes the next item when it is done with one.

A process ends with the one that started it, however that ends; so nothing goes on working behind a run that was killed.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from schemas.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
Tell = Callable[[int], None]  # says that so much more of the work is done
_TO_END_S = 5.0


def untold(_: int) -> None:
    """For work whose progress nobody follows."""


class MapItems(Protocol):
    """Applies a function to items, in any order and place.

    Functions, items and results may have to travel to other processes and back.
    """

    @property
    def at_once(self) -> int:
        """How many items one machine works on at a time."""
        ...

    def __call__(
        self, function: Callable[[Item, Tell], Result], items: Sequence[Item], tell: Tell, /
    ) -> Sequence[Result]:
        """The results in the order of the items. What the function tells may never be heard."""
        ...


@dataclass(frozen=True)
class Processes:
    """Processes of this machine; with one at once, or for one item, the work is done in this process.

    Programs that ask for more do so under `if __name__ == "__main__"`: each process imports the program anew.
    """

    at_once: int = 1

    @classmethod
    def a_core_each(cls, count: int | None = None) -> "Processes":
        """So many, or as many as this machine has cores."""
        return cls(count or os.cpu_count() or 1)

    def __call__(
        self, function: Callable[[Item, Tell], Result], items: Sequence[Item], tell: Tell, /
    ) -> Sequence[Result]:
        """Raises what the function raises, and InputError where a process dies."""
        count = min(self.at_once, len(items))
        if count <= 1:
            return [function(item, tell) for item in items]
        results: dict[int, Result] = {}
        with _started(count, function) as workers:
            left = iter(enumerate(items))
            for connection in list(workers):
                _give(connection, left, workers)
            while workers:
                for connection in [each for each in wait(list(workers)) if isinstance(each, Connection)]:
                    kind, value = _heard(connection, workers)
                    if kind == "told":
                        tell(value)
                    elif kind == "failed":
                        raise value
                    else:
                        index, results[index] = value
                        _give(connection, left, workers)
        return [results[index] for index in range(len(items))]


def _give(connection: Connection, left: Iterator[Any], workers: dict[Connection, BaseProcess]) -> None:
    """The next item to a process, which ends where there is none."""
    item = next(left, None)
    with suppress(BrokenPipeError):  # it is dead, which is heard when we listen
        connection.send(item)
    if item is None:
        workers.pop(connection).join()
        connection.close()


def _heard(connection: Connection, workers: dict[Connection, BaseProcess]) -> tuple[str, Any]:
    try:
        said: tuple[str, Any] = connection.recv()
    except (EOFError, ConnectionResetError) as error:
        workers[connection].join()
        raise InputError(
            f"a process that did a part of the work died (exit status {workers[connection].exitcode}), maybe for want "
            "of memory; run the same command again with fewer processes"
        ) from error
    return said


@contextmanager
def _started(count: int, function: Callable[[Any, Tell], Any]) -> Iterator[dict[Connection, BaseProcess]]:
    """So many processes, by the connection to each; whatever ends the block ends them."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    workers: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(count):
            here, there = context.Pipe()
            process: BaseProcess = context.Process(target=_work, args=(there, function), daemon=True)
            process.start()
            there.close()
            workers[here] = process
        yield workers
    finally:
        for process in workers.values():
            process.terminate()
        for connection, process in workers.items():
            process.join(_TO_END_S)
            process.kill()
            connection.close()


def _work(connection: Connection, function: Callable[[Any, Tell], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this one is interrupted too, and ends it
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # who started this one is gone
        while (received := connection.recv()) is not None:
            index, item = received
            said: tuple[str, Any]
            try:
                said = ("done", (index, function(item, lambda count: connection.send(("told", count)))))
            except (BrokenPipeError, ConnectionResetError):  # of what it tells
                raise
            except Exception as error:  # raised again where the results are awaited
                said = ("failed", error)
            connection.send(said)
