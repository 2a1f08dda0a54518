"""Independent pieces of work side by side, each on one core.

Torch splits every single operation over its threads and waits for all of them at its end. With hundreds of short
operations a prompt, that waiting costs more than the operations where anything else runs on the machine.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import lru_cache
from queue import Empty, SimpleQueue
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


class _Threads:
    """Torch's number of threads, which is the process's: it is 1 while anybody works in lanes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._usual = 1

    def usual(self) -> int:
        """What torch uses when nobody works in lanes."""
        with self._lock:
            return self._usual if self._users else torch.get_num_threads()

    @contextmanager
    def one_each(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._usual = torch.get_num_threads()
                torch.set_num_threads(1)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    torch.set_num_threads(self._usual)


_threads = _Threads()


def lane_count() -> int:
    """Pieces of work that can go on side by side: as many as torch has threads."""
    return _threads.usual()


def side_by_side(function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """[function(part) for part in parts], without gradients, on as many cores as torch has threads, this one too."""
    lanes = min(lane_count(), len(parts))
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(parts)):
        waiting.put(number)
    results: dict[int, Result] = {}

    def lane() -> None:
        with torch.no_grad(), suppress(Empty):  # gradients are each thread's own
            while True:
                number = waiting.get_nowait()
                results[number] = function(parts[number])

    if lanes < 2:
        lane()
    else:
        with _threads.one_each():
            others = [_pool(lanes - 1).submit(lane) for _ in range(lanes - 1)]
            try:
                lane()
            finally:  # nobody goes on with these parts once this returns, be it with an error
                wait(others)
            for other in others:
                other.result()
    return [results[number] for number in range(len(parts))]


@lru_cache(maxsize=4)
def _pool(lanes: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(lanes, thread_name_prefix="lane")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of the threads
