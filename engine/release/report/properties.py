"""What the masks of a dataset are like, counted as they pass by (SAM paper, section 5, figures 5 and 6).

Memory does not grow with the dataset.
"""

from collections import Counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.release.report.hulls import concavity
from engine.release.report.strata import StratifiedSample
from schemas.rle import Rle

# Cells a side of a density map, fewer for fewer masks. All odd: many boxes lie exactly in the middle, which is to be
# the middle of a cell.
SIDES = (135, 45, 27, 15, 9)
GRID = SIDES[0]
SIZE_BINS = 1000
# Upper ends of the bins of masks per picture; unions of them are the bins of the paper's figure 6.
PER_PICTURE_ENDS = (2, 5, 10, 20, 50, 100, 200)
_MASKS_PER_CELL = 4  # at least, on average: below that a map shows chance alone


class Dataset(Protocol):
    """Something whose masks can be counted and sampled."""

    name: str

    def properties(self) -> "MaskProperties":
        """Count all masks. Raises InputError for what cannot be read."""
        ...

    def masks(self, items: list[Any]) -> list[Rle]:
        """The masks of items of its sample, in any order."""
        ...


class MaskProperties:
    """Counts of one dataset; `sample` is what its concavity is measured on.

    pictures: those without masks too. masks: those that were counted. left_out: others, by why.
    """

    def __init__(self, name: str, *, seed: int = 0) -> None:
        self.name = name
        self.pictures = self.masks = 0
        self.left_out: Counter[str] = Counter()
        self.sample = StratifiedSample(seed=seed)
        self._cells = np.zeros(GRID * GRID, dtype=np.int64)
        self._sizes = np.zeros(SIZE_BINS, dtype=np.int64)
        self._per_picture: Counter[int] = Counter()
        self._corners = 0

    def add_pictures(self, masks: npt.NDArray[np.int64]) -> None:
        """masks: (N,), how many each of N pictures has."""
        self.pictures += len(masks)
        values, counts = np.unique(masks, return_counts=True)
        self._per_picture.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def add_masks(
        self,
        boxes: npt.NDArray[np.float64],
        areas: npt.NDArray[Any],
        sizes: npt.NDArray[np.int64],
        *,
        keys: npt.NDArray[np.int64],
        items: npt.NDArray[Any],
    ) -> None:
        """boxes: (N, 4), XYXY pixels. areas: (N,) pixels. sizes: (N, 2), width and height of the pictures.

        keys, items: for `sample`.
        """
        self.masks += len(areas)
        centres = np.clip((boxes[:, :2] + boxes[:, 2:]) / (2 * sizes), 0, 1)
        cells = np.minimum((centres * GRID).astype(np.int64), GRID - 1)
        self._cells += np.bincount(cells[:, 1] * GRID + cells[:, 0], minlength=GRID * GRID)
        self._corners += int((np.abs(centres - 0.5) >= 0.25).all(axis=1).sum())
        relative = np.clip(np.sqrt(areas / sizes.prod(axis=1)), 0, 1)
        bins = np.minimum((relative * SIZE_BINS).astype(np.int64), SIZE_BINS - 1)
        self._sizes += np.bincount(bins, minlength=SIZE_BINS)
        self.sample.add(relative, keys, items)

    @property
    def masks_per_picture(self) -> float:
        return self.masks / self.pictures if self.pictures else 0.0

    @property
    def corner_frac(self) -> float:
        """Share of the centres in the four corners, a quarter of each side: 1/4 if evenly spread."""
        return self._corners / self.masks if self.masks else 0.0

    def density(self, side: int) -> npt.NDArray[np.float64]:
        """(side, side), rows from the top: where centres lie, 1 in each cell if they were evenly spread.

        side: one of `SIDES`.
        """
        step = GRID // side
        cells = self._cells.reshape(side, step, side, step).sum(axis=(1, 3))
        return np.asarray(cells * side * side / max(self.masks, 1), dtype=np.float64)

    def per_picture(self) -> npt.NDArray[np.float64]:
        """Share of the pictures in each bin of masks per picture; `PER_PICTURE_ENDS` end the bins, the last is open."""
        found = np.zeros(len(PER_PICTURE_ENDS) + 1)
        for masks, pictures in self._per_picture.items():
            found[np.searchsorted(PER_PICTURE_ENDS, masks)] += pictures
        return found / max(self.pictures, 1)

    def median_per_picture(self) -> float:
        """The middle picture's number of masks; of two, their mean."""
        values = np.array(sorted(self._per_picture), dtype=np.int64)
        ends = np.cumsum([self._per_picture[value] for value in values.tolist()])
        middle = [(self.pictures - 1) // 2, self.pictures // 2]
        return float(values[np.searchsorted(ends, middle, side="right")].mean()) if self.pictures else 0.0

    def relative_sizes(self, bins: int) -> npt.NDArray[np.float64]:
        """Share of the masks in each of equal bins of the relative size; bins: divides `SIZE_BINS`."""
        return np.asarray(self._sizes.reshape(bins, -1).sum(axis=1) / max(self.masks, 1), dtype=np.float64)

    def size_quantile(self, share: float) -> float:
        """The relative size that this share of the masks stays below, to a thousandth."""
        place = np.searchsorted(np.cumsum(self._sizes), share * self.masks)
        return float((place + 0.5) / SIZE_BINS)


def grid_side(masks: int) -> int:
    """Cells a side of a density map of so many masks, so that a cell is not a matter of chance."""
    return next((side for side in SIDES if side * side * _MASKS_PER_CELL <= masks), SIDES[-1])


def sample_concavities(dataset: Dataset, sample: StratifiedSample, counts: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Concavity of the first masks of each bin of sizes. Raises InputError if one cannot be read."""
    found = concavity(dataset.masks(sample.take(counts)))
    return found[np.isfinite(found)]
