"""Stratified sampling of masks by their size: the same number from each bin of sizes in every dataset.

Shape goes with size, so two datasets are compared on masks of equal sizes (SAM paper, section 5). The paper does not
say its bins; here their edges double.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Of the relative size: the root of mask area / picture area.
SIZE_EDGES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)
STRATA = len(SIZE_EDGES) - 1
MASKS_PER_STRATUM = 2000


class StratifiedSample:
    """Of the masks of each bin of sizes, those with the smallest hash of their key, up to a number.

    So the sample depends neither on the order of masks nor on how many come at once, and the smaller of two samples
    lies in the larger. Memory: at most `per_stratum` masks a bin.
    """

    def __init__(self, per_stratum: int = MASKS_PER_STRATUM, *, seed: int = 0) -> None:
        self._limit, self._seed = per_stratum, seed
        self._hashes: list[npt.NDArray[np.uint64]] = [np.empty(0, dtype=np.uint64)] * STRATA
        self._items: list[npt.NDArray[Any]] = [np.empty(0, dtype=object)] * STRATA

    def add(
        self, relative_sizes: npt.NDArray[np.float64], keys: npt.NDArray[np.int64], items: npt.NDArray[Any]
    ) -> None:
        """relative_sizes: (N,) in [0, 1]. keys: (N,), different for each mask. items: (N, ...), what `take` gives."""
        hashes = _hashed(keys, self._seed)
        strata = stratum_of(relative_sizes)
        for stratum in range(STRATA):
            inside = np.flatnonzero(strata == stratum)
            if not len(inside):
                continue
            found, kept = self._hashes[stratum], self._items[stratum]
            joined = np.concatenate([found, hashes[inside]])
            chosen = np.argsort(joined, kind="stable")[: self._limit]
            self._hashes[stratum] = joined[chosen]
            self._items[stratum] = (np.concatenate([kept, items[inside]]) if len(kept) else items[inside])[chosen]

    def counts(self) -> tuple[int, ...]:
        """How many masks of each bin are at hand."""
        return tuple(map(len, self._hashes))

    def take(self, counts: Sequence[int]) -> list[Any]:
        """The items of the first masks of each bin, as many as are asked for."""
        chosen = [items[:count] for items, count in zip(self._items, counts, strict=True)]
        return [item for of_stratum in chosen for item in of_stratum]


def common_counts(samples: Sequence[StratifiedSample]) -> tuple[int, ...]:
    """How many masks of each bin all these samples can give."""
    return tuple(map(min, *(sample.counts() for sample in samples))) if len(samples) > 1 else samples[0].counts()


def stratum_of(relative_sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bin of each size; an edge belongs to the bin above it."""
    return np.searchsorted(SIZE_EDGES[1:-1], relative_sizes, side="right")


def _hashed(keys: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint64]:
    """SplitMix64 of the keys: different keys have different hashes."""
    mixed = keys.astype(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
