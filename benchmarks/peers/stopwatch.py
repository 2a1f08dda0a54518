"""Time of a call, by phases, less what does not belong to it: looking up the numbers that stand in for others."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """phases: seconds of each; `now` stands still while it is paused."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._paused_s = 0.0

    def now(self) -> float:
        return time.perf_counter() - self._paused_s

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = self.now()
        yield
        self.phases[name] = self.phases.get(name, 0.0) + self.now() - started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Not to be nested."""
        started = time.perf_counter()
        yield
        self._paused_s += time.perf_counter() - started
