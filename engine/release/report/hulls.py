"""Area, extent and convex hull of masks straight from their RLE: a hull needs only the ends of each column.

Import it only where it is used: numba takes a moment. All compiled functions are in this file: numba would not notice a
change in another.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.masks.kernel import compiled
from schemas.rle import Rle

_BROKEN = -1


class Shapes(NamedTuple):
    """Of N masks, int64 each; zeros for an empty mask.

    area: pixels. twice_hull: twice the area of the convex hull of the pixels' centres, so that it is whole.
    width, height: of the tight box.
    """

    area: npt.NDArray[np.int64]
    twice_hull: npt.NDArray[np.int64]
    width: npt.NDArray[np.int64]
    height: npt.NDArray[np.int64]


def measure_shapes(masks: Sequence[Rle]) -> Shapes:
    """Measure masks of any sizes. `twice_hull` / 2 is `cv2.contourArea(cv2.convexHull(pixels))`, exactly.

    Raises InputError if the counts of one are broken.
    """
    found = np.zeros((len(Shapes._fields), len(masks)), dtype=np.int64)
    counts = np.frombuffer(b"".join(mask.counts for mask in masks), dtype=np.uint8)
    ends = np.cumsum([0, *(len(mask.counts) for mask in masks)], dtype=np.int64)
    sizes = np.array([(mask.height, mask.width) for mask in masks], dtype=np.int64).reshape(-1, 2)
    columns = np.empty((3, sizes[:, 1].max(initial=1)), dtype=np.int64)
    chain = np.empty((2, columns.shape[1]), dtype=np.int64)
    lengths = np.empty(np.diff(ends).max(initial=0), dtype=np.int64)  # at most a run a byte
    _measure(counts, ends, sizes, lengths, columns, chain, found)
    for number in np.flatnonzero(found[0] == _BROKEN):
        rle_codec.runs(masks[number])  # says what is wrong
    return Shapes(*found)


def concavity(masks: Sequence[Rle]) -> npt.NDArray[np.float64]:
    """(N,) in [0, 1): 1 - area / area of the convex hull (SAM paper, section 5); NaN for an empty mask.

    A pixel counts as the square that it is, in the hull as in the area: the hull is that of the corners of all pixels,
    `cv2.contourArea(cv2.convexHull(corners))` exactly, and a rectangle's concavity is 0. The hull of the pixels'
    centres (`measure_shapes`) lacks half a pixel all around: masks without any dent would come out below 0.
    Raises InputError if the counts of one are broken.
    """
    shapes = measure_shapes(masks)
    # The corners' hull is the centres' hull plus a unit square, in the sense of Minkowski; its area follows.
    hull = shapes.twice_hull / 2 + shapes.width + shapes.height - 1
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.float64] = 1 - np.where(shapes.area > 0, shapes.area, np.nan) / hull
    return found


@compiled()
def _measure(counts: Any, ends: Any, sizes: Any, lengths: Any, columns: Any, chain: Any, found: Any) -> None:
    """found: (4, N), to be filled in the order of `Shapes`. lengths, columns, chain: room to work in."""
    for n in range(len(ends) - 1):
        height, width = sizes[n, 0], sizes[n, 1]
        runs = _run_lengths(counts[ends[n] : ends[n + 1]], height * width, lengths)
        if runs == _BROKEN:
            found[0, n] = _BROKEN
            continue
        used = _columns_of(lengths, runs, height, columns)
        if not used:
            continue
        top, bottom = height, 0
        for i in range(used):
            top, bottom = min(top, columns[1, i]), max(bottom, columns[2, i])
        for i in range(1, runs, 2):
            found[0, n] += lengths[i]
        found[1, n] = _twice_hull(columns, used, chain)
        found[2, n] = columns[0, used - 1] - columns[0, 0] + 1
        found[3, n] = bottom - top + 1


@compiled()
def _run_lengths(counts: Any, pixels: int, lengths: Any) -> int:
    """Parse compressed counts into `lengths` and say how many runs there are; _BROKEN where they fill no mask."""
    at, runs, position = 0, 0, 0
    while at < len(counts):
        value, shift, more = np.int64(0), 0, True
        while more:
            if at == len(counts) or shift == 35 or counts[at] < 48 or counts[at] > 111:
                return _BROKEN
            group = np.int64(counts[at]) - 48
            value |= (group & 0x1F) << shift
            shift += 5
            at += 1
            more = group & 0x20 != 0
            if not more and group & 0x10:
                value -= 1 << shift
        lengths[runs] = value + (lengths[runs - 2] if runs > 2 else 0)
        position += lengths[runs]
        if lengths[runs] < 0 or position > pixels:
            return _BROKEN
        runs += 1
    return runs if position == pixels else _BROKEN


@compiled()
def _columns_of(lengths: Any, runs: int, height: int, columns: Any) -> int:
    """Fill (column, first row, last row) of each column that has foreground, and say how many there are."""
    used, position = 0, 0
    for run in range(runs):
        if run % 2 and lengths[run]:
            first, final = position, position + lengths[run] - 1
            for column in range(first // height, final // height + 1):
                if not used or columns[0, used - 1] != column:
                    columns[0, used], columns[1, used] = column, max(first - column * height, 0)
                    used += 1
                columns[2, used - 1] = min(final - column * height, height - 1)
        position += lengths[run]
    return used


@compiled()
def _twice_hull(columns: Any, used: int, chain: Any) -> int:
    """Twice the area between the lower and the upper chain of the hull (Andrew's monotone chain, column by column)."""
    twice = 0
    for side in range(2):
        sign = 1 - 2 * side
        size = 0
        for i in range(used):
            x, y = columns[0, i], sign * columns[1 + side, i]
            while size > 1 and _turn(chain, size, x, y) <= 0:
                size -= 1
            chain[0, size], chain[1, size] = x, y
            size += 1
        for i in range(1, size):
            twice -= (chain[0, i] - chain[0, i - 1]) * (chain[1, i] + chain[1, i - 1])
    return twice


@compiled(forceinline=True)
def _turn(chain: Any, size: int, x: int, y: int) -> int:
    """Above 0 where the chain turns from its last edge towards growing y on the way to (x, y)."""
    dx, dy = chain[0, size - 1] - chain[0, size - 2], chain[1, size - 1] - chain[1, size - 2]
    turn: int = dx * (y - chain[1, size - 2]) - dy * (x - chain[0, size - 2])
    return turn
