"""A worker of Prefect's that is started again whenever it dies.

Prefect's worker ends for good with errors that pass by themselves: a run that is scheduled anew while the process of
its last try still ends, or a server that refuses requests too often in a row. What becomes of the runs that it had is
for the janitor.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from flows.console import note

_AGAIN_AFTER_S = 5.0
_LOOK_EVERY_S = 0.1


def worker_command(pool: str, limit: int) -> list[str]:
    """What starts a worker of a pool whose runs are processes of this machine, so many at once.

    With its type it makes the pool where that is missing, and waits for a server that is not there yet.
    """
    options = ("--pool", pool, "--type", "process", "--limit", str(limit))
    return [sys.executable, "-m", "prefect", "worker", "start", *options]


def keep_running(command: Sequence[str], *, again_after_s: float = _AGAIN_AFTER_S) -> None:
    """Run a command, and again whenever it ends by itself, until SIGTERM, which it is told too, or Ctrl-C.

    To be called in the main thread.
    """
    stopped = False
    running: list[subprocess.Popen[bytes]] = []

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if number == signal.SIGTERM:  # of Ctrl-C the terminal tells all
            for process in running:
                process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not stopped:
            with subprocess.Popen(command) as process:
                running[:] = [process]
                if stopped:  # while it was started
                    process.terminate()
                status = process.wait()
            if not stopped:
                note(f"the worker ended by itself (exit status {status}); it is started again in {again_after_s:g} s")
            again_at = time.monotonic() + again_after_s
            while not stopped and time.monotonic() < again_at:
                time.sleep(_LOOK_EVERY_S)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
