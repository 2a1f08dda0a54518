"""Area, extent and convex hull of masks straight from their RLE: a hull needs only the ends of each column.

Import it only where it is used: numba takes a moment.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.release.run_kernel import BROKEN, measure
from schemas.rle import Rle


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
    measure(counts, ends, sizes, lengths, columns, chain, found)
    for number in np.flatnonzero(found[0] == BROKEN):
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
