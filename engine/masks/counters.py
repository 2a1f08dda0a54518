"""What a run of the generator counts: masks dropped for each reason, seconds for each phase."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from engine.masks.filters import REASONS, Verdict

# Whoever reads the file fills in `decode_image`; it is 0 where the picture was given.
PHASES = ("decode_image", "encode", "prompt_decode", "filter", "nms", "rle")


class Counters:
    """dropped: masks for each of REASONS. seconds: wall-clock seconds for each of PHASES."""

    def __init__(self) -> None:
        self.dropped = dict.fromkeys(REASONS, 0)
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._inner = 0.0

    def kept(self, verdict: Verdict) -> Tensor:
        """Indices (K,) of the masks that stay; counts the others under the filter's reason."""
        index = verdict.keep.nonzero().squeeze(1)
        self.dropped[verdict.reason] += len(verdict.keep) - len(index)
        return index

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time of what happens inside, less that of phases within it."""
        started, outer, self._inner = time.perf_counter(), self._inner, 0.0
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.seconds[phase] += seconds - self._inner
            self._inner = outer + seconds
