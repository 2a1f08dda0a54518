"""Work shared out among processes: the same results as alone, errors as they were, nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.processes import Processes, Tell, untold
from schemas.errors import InputError

ROOT = Path(__file__).parents[2]


def squared(number: int, tell: Tell) -> tuple[int, int]:
    tell(number)
    return number * number, os.getpid()


def refused(number: int, tell: Tell) -> int:
    if number == 3:
        raise InputError("three: not this one; take another")
    return number


def shot(number: int, tell: Tell) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def slow(folder: str, tell: Tell) -> None:
    """Leaves its process's number and works until nobody hears it any more."""
    Path(folder, str(os.getpid())).touch()
    while True:
        time.sleep(0.05)
        tell(1)


@pytest.mark.parametrize(("at_once", "others"), [(1, 0), (3, 3)])
def test_results_come_in_the_order_of_the_items_and_all_is_told(at_once: int, others: int) -> None:
    told: list[int] = []
    found = Processes(at_once)(squared, range(9), told.append)
    assert [square for square, _ in found] == [number * number for number in range(9)]
    assert sum(told) == sum(range(9))
    assert len({pid for _, pid in found} - {os.getpid()}) in range(bool(others), others + 1)


def test_there_are_no_more_processes_than_items() -> None:
    assert Processes(4)(squared, [5], untold) == [(25, os.getpid())]
    assert Processes(4)(squared, [], untold) == []


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_is_the_one_that_was_raised(at_once: int) -> None:
    with pytest.raises(InputError, match=r"^three: not this one; take another$"):
        Processes(at_once)(refused, range(9), untold)


def test_a_process_that_dies_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match=r"died \(exit status -9\).*; run the same command again with fewer") as error:
        Processes(2)(shot, range(9), untold)
    assert "\n" not in str(error.value)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nobody_works_on_behind_one_that_was_killed(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "from engine.processes import Processes, untold; from tests.engine.test_processes import slow; "
        f"Processes(2)(slow, [{str(tmp_path)!r}] * 2, untold)"
    )
    started = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert not any(gone(pid) for pid in pids)
    started.send_signal(number)
    started.wait(60)
    until(lambda: all(gone(pid) for pid in pids))


def until(true: Callable[[], bool], within_s: float = 120) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
