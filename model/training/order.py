"""In which order the samples of an epoch come: a pure function of the seed and the epoch.

A source whose samples lie in files, many to each, says which ones lie together. Where there are too many to shuffle
all, its files are shuffled, and then the samples of a few files at a time: each file is read once an epoch, and a run
that is resumed goes on in the same order. Of a source that numbers its samples file by file, memory goes with its
files alone, however many samples they hold.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from model.training.run_weights import RunWeights

SHUFFLED_AT_ONCE = 50_000  # samples; of more, those of a few files at a time
FILES_AT_ONCE = 8
_HELD_WINDOWS = 2

Indices = npt.NDArray[np.int64]


@runtime_checkable
class GroupedSource(Protocol):
    """A source of samples that says which of them lie in one file."""

    @property
    def groups(self) -> npt.NDArray[np.int32]:
        """(N,) a number for each file, below 0 for samples that lie in none."""
        ...


@runtime_checkable
class FiledSource(Protocol):
    """A source that may number its samples file by file, where there are many."""

    @property
    def files(self) -> Indices | None:
        """(F + 1,) where the samples of each of F files begin, and where the last ones end; those behind lie in none.
        None where it numbers them otherwise."""
        ...


class Order(Protocol):
    """The endless stream of samples, epoch by epoch."""

    def __len__(self) -> int:
        """How many an epoch has; one that comes several times counts as often."""
        ...

    def sample(self, position: int) -> int:
        """The sample at a place of the stream."""
        ...

    def beside(self, position: int) -> Indices:
        """The samples to draw another one from that goes with the one at a place."""
        ...


def order_of(source: object, weights: Sequence[float], *, seed: int) -> Order:
    """The order of a source's samples, each of which comes as often as its weight says, relative to the rarest
    (rounded). weights: (N,)."""
    files = source.files if isinstance(source, FiledSource) else None
    if files is not None:
        return StreamedOrder(files, RunWeights.of(weights), seed=seed)
    values = np.asarray(weights[:])
    repeats = values / values.min()
    epoch = np.repeat(np.arange(len(weights)), np.rint(repeats).astype(int))
    return EpochOrder(epoch, source.groups if isinstance(source, GroupedSource) else None, seed=seed)


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


class _Windows(NamedTuple):
    """files: (F,) in their order, FILES_AT_ONCE a window. phases: (A,) of the samples in no file, in [0, 1), where in
    an epoch each begins to come. starts: (W + 1,) places of the epoch where its W windows begin, and its end."""

    number: int
    files: Indices
    phases: npt.NDArray[np.float64]
    starts: Indices


class StreamedOrder:
    """The endless stream of the samples of F files, and of those that lie in none, a window of files at a time.

    Which window comes when is told by an epoch's number, what is in it by the window's: memory goes with F. The samples
    that lie in no file are spread evenly over the epoch.
    """

    def __init__(self, files: Indices, weights: RunWeights, *, seed: int) -> None:
        """files: (F + 1,) of `FiledSource`, F at least 1. weights: how often each sample comes, relative to others."""
        self._files, self._seed = files, seed
        self._times = weights.repeats()
        self._alone = np.arange(files[-1], len(weights))
        self._alone_times = self._times.at(self._alone)
        self._in_file = np.diff(self._times.before(files))
        self._count = -(-(len(files) - 1) // FILES_AT_ONCE)
        self._epoch: _Windows | None = None
        self._held: LRUCache[tuple[int, int], Indices] = LRUCache(_HELD_WINDOWS)

    def __len__(self) -> int:
        return int(self._in_file.sum() + self._alone_times.sum())

    def sample(self, position: int) -> int:
        """The sample at a place of the stream."""
        epoch, window, offset = self._find(position)
        return int(self._samples(epoch, window)[offset - epoch.starts[window]])

    def beside(self, position: int) -> Indices:
        """The samples to draw another one from that goes with the one at a place: those of its window."""
        epoch, window, _ = self._find(position)
        return self._samples(epoch, window)

    def _find(self, position: int) -> tuple[_Windows, int, int]:
        """The epoch of a place, its window there, and its place in the epoch."""
        number, offset = divmod(position, len(self))
        if self._epoch is None or self._epoch.number != number:
            self._epoch = self._shuffled(number)
        window = int(np.searchsorted(self._epoch.starts, offset, side="right")) - 1
        return self._epoch, window, offset

    def _shuffled(self, number: int) -> _Windows:
        rng = np.random.default_rng((self._seed, number))
        files = rng.permutation(len(self._in_file))
        phases = rng.random(len(self._alone))
        sizes = np.add.reduceat(self._in_file[files], np.arange(0, len(files), FILES_AT_ONCE))
        sizes += np.array([self._alone_in(window, phases).sum() for window in range(self._count)], dtype=np.int64)
        return _Windows(number, files, phases, np.concatenate([[0], np.cumsum(sizes)]))

    def _alone_in(self, window: int, phases: npt.NDArray[np.float64]) -> Indices:
        """(A,) how often each sample that lies in no file comes in a window: as even as it can be."""
        begun, ended = (np.ceil(self._alone_times * (end / self._count) - phases) for end in (window, window + 1))
        times: Indices = (ended - begun).astype(np.int64)
        return times

    def _samples(self, epoch: _Windows, window: int) -> Indices:
        """The samples of a window as they come."""
        held = self._held.get((epoch.number, window))
        if held is None:
            files = epoch.files[window * FILES_AT_ONCE : (window + 1) * FILES_AT_ONCE]
            some = np.concatenate([np.arange(self._files[file], self._files[file + 1]) for file in files])
            own = np.repeat(some, self._times.at(some))
            alone = np.repeat(self._alone, self._alone_in(window, epoch.phases))
            rng = np.random.default_rng((self._seed, 2, epoch.number, window))
            held = self._held[epoch.number, window] = rng.permutation(np.concatenate([own, alone]))
        return held
