"""Weights of many samples, kept as runs of samples that follow each other and weigh the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class RunWeights(Sequence[float]):
    """How often each of N samples comes, relative to others; equal to any list of the same weights."""

    def __init__(self, ends: Sequence[int] | Indices, values: Sequence[float] | npt.NDArray[np.float64]) -> None:
        """ends: (R,) rising, where each of R runs ends; the last one is N. values: (R,) above 0."""
        self._ends = np.asarray(ends, dtype=np.int64)
        self._values = np.asarray(values, dtype=np.float64)

    @classmethod
    def of(cls, weights: Sequence[float]) -> "RunWeights":
        """Weights as runs; themselves where they are such."""
        if isinstance(weights, cls):
            return weights
        values = np.asarray(weights, dtype=np.float64)
        ends = np.append(np.flatnonzero(np.diff(values)) + 1, len(values))
        return cls(ends, values[ends - 1])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice):
            found: list[float] = self.at(np.arange(*index.indices(len(self)))).tolist()
            return found
        return float(self.at(np.array([range(len(self))[index]]))[0])

    def __iter__(self) -> Iterator[float]:
        return iter(self[:])

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, RunWeights | list | tuple):
            return len(self) == len(other) and self[:] == list(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self._ends.tobytes(), self._values.tobytes()))

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return float(np.dot(np.diff(self._ends, prepend=0), self._values))

    def at(self, samples: Indices) -> npt.NDArray[np.float64]:
        """(M,) the weights of M samples."""
        found: npt.NDArray[np.float64] = self._values[np.searchsorted(self._ends, samples, side="right")]
        return found

    def times(self, samples: Indices, factors: npt.NDArray[np.float64]) -> "RunWeights":
        """The same with the weights of some samples times a factor. samples: (M,) rising. factors: (M,)."""
        ends = np.unique(np.concatenate([self._ends, samples, samples + 1]))
        ends = ends[ends > 0]
        begins = np.concatenate([[0], ends[:-1]])
        values = self.at(begins)
        values[np.searchsorted(begins, samples)] *= factors
        return RunWeights(ends, values)

    def followed_by(self, weight: float, *, count: int) -> "RunWeights":
        """The same with `count` more samples behind, of one weight each."""
        if not count:
            return self
        return RunWeights(np.append(self._ends, len(self) + count), np.append(self._values, weight))

    def repeats(self) -> "RunRepeats":
        """How often each comes an epoch: as its weight says, relative to the lightest (rounded)."""
        return RunRepeats(self._ends, np.rint(self._values / self._values.min()).astype(np.int64))


@dataclass(frozen=True)
class RunRepeats:
    """How often each of N samples comes. ends: (R,) where each run of samples ends. values: (R,)."""

    ends: Indices
    values: Indices

    def at(self, samples: Indices) -> Indices:
        """(M,) how often M samples come."""
        found: Indices = self.values[np.searchsorted(self.ends, samples, side="right")]
        return found

    def before(self, samples: Indices) -> Indices:
        """(M,) how often all samples before each of M numbers come, together; a number may be N."""
        begins = np.concatenate([[0], self.ends])
        together = np.concatenate([[0], np.cumsum(np.diff(begins) * self.values)])
        run = np.minimum(np.searchsorted(self.ends, samples, side="right"), len(self.ends) - 1)
        found: Indices = together[run] + (samples - begins[run]) * self.values[run]
        return found
