"""In which order the samples of an epoch come: a pure function of the seed and the epoch.

A source whose samples lie in files, many to each, says which ones lie together. Where there are too many to shuffle
all, its files are shuffled, and then the samples of a few files at a time: each file is read once an epoch, and a run
that is resumed goes on in the same order.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

SHUFFLED_AT_ONCE = 50_000  # samples; of more, those of a few files at a time
FILES_AT_ONCE = 8

Indices = npt.NDArray[np.int64]


@runtime_checkable
class GroupedSource(Protocol):
    """A source of samples that says which of them lie in one file."""

    @property
    def groups(self) -> npt.NDArray[np.int32]:
        """(N,) a number for each file, below 0 for samples that lie in none."""
        ...


class _Epoch(NamedTuple):
    """order: the samples as they come. windows: (E,) which window each of them is in, rising; starts: of windows."""

    number: int
    order: Indices
    starts: Indices


class EpochOrder:
    """The endless stream of E samples an epoch, of which one may come several times."""

    def __init__(self, samples: Indices, groups: npt.NDArray[np.int32] | None, *, seed: int) -> None:
        """samples: (E,) numbers of samples. groups: (N,) of `GroupedSource`, None for a source without files."""
        self._samples, self._seed = samples, seed
        in_windows = groups is not None and len(samples) > SHUFFLED_AT_ONCE and bool((groups >= 0).any())
        self._groups = groups[samples] if in_windows and groups is not None else None
        self._epoch: _Epoch | None = None

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, position: int) -> int:
        """The sample at a place of the stream."""
        number, offset = divmod(position, len(self))
        return int(self._of(number).order[offset])

    def beside(self, position: int) -> Indices:
        """The samples to draw another one from that goes with the one at a place: all, or those of its window."""
        if self._groups is None:
            return self._samples
        number, offset = divmod(position, len(self))
        epoch = self._of(number)
        window = int(np.searchsorted(epoch.starts, offset, side="right")) - 1
        return epoch.order[epoch.starts[window] : epoch.starts[window + 1]]

    def _of(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            rng = np.random.default_rng((self._seed, number))
            self._epoch = self._shuffled(number, rng)
        return self._epoch

    def _shuffled(self, number: int, rng: np.random.Generator) -> _Epoch:
        if self._groups is None:
            return _Epoch(number, rng.permutation(self._samples), np.array([0, len(self)]))
        files, own = np.unique(self._groups, return_inverse=True)
        places = rng.permutation(len(files))
        places[files < 0] = 0
        count = -(-len(files) // FILES_AT_ONCE)
        windows = (places // FILES_AT_ONCE)[own]
        alone = self._groups < 0  # spread over the epoch
        windows[alone] = rng.integers(count, size=int(alone.sum()))
        order = np.lexsort((rng.random(len(self)), windows))
        starts = np.searchsorted(windows[order], np.arange(count + 1))
        return _Epoch(number, self._samples[order], starts)
