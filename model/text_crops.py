"""Pictures of single masks, as CLIP embeds them for prompts that need no labels (SAM paper, appendix D.5)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WIDEST = 2.0  # of the box, as a multiple of itself


class MaskCrop(NamedTuple):
    """A square part of a picture (S, S, 3) uint8 around a mask, and what of it is the mask, (S, S) bool."""

    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def mask_crop(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator, *, hide_frac: float = 0.5
) -> MaskCrop:
    """The mask's box, 1 to 2 times as large, made square; what lies beyond the picture (H, W, 3) is black.

    hide_frac: how often everything but the mask is black too. Raises ValueError where the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("an empty mask has no box")
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    side = max(1, round(max(bottom - top, right - left) * rng.uniform(1.0, _WIDEST)))
    y, x = (top + bottom - side) // 2, (left + right - side) // 2
    picture = np.zeros((side, side, 3), dtype=np.uint8)
    inside = np.zeros((side, side), dtype=bool)
    ys, xs = slice(max(0, y), min(len(mask), y + side)), slice(max(0, x), min(mask.shape[1], x + side))
    to = (slice(ys.start - y, ys.stop - y), slice(xs.start - x, xs.stop - x))
    picture[to], inside[to] = image[ys, xs], mask[ys, xs]
    if rng.random() < hide_frac:
        picture[~inside] = 0
    return MaskCrop(picture, inside)
