"""Masks as the pixels inside their box, and their small regions: the rest of the picture is background and is not made.

The trap: background that leaves the box is one region with what lies outside, or several regions where the mask reaches
from one edge of the picture to the other.
"""

from typing import NamedTuple

import numpy as np
import torch

from engine import rle
from engine.masks.regions import Beyond, HoleReachesBeyondError, Mask, clean_mask
from model.geometry import mask_boxes
from schemas.rle import Rle

Box = tuple[int, int, int, int]  # XYXY, inclusive


class CleanedRle(NamedTuple):
    """mask and its box; changed and largest_area as in `regions.CleanedMask`."""

    mask: Rle
    box: Box
    changed: bool
    largest_area: int


def clean_rle(mask: Rle, box: Box, *, min_area: int) -> CleanedRle:
    """What `regions.clean_mask` does to the full mask. box: of the mask, which has at least one pixel."""
    part, x0, y0 = _with_ring(mask, box)
    height, width = part.shape
    below, right = mask.height - y0 - height, mask.width - x0 - width
    beyond = Beyond(x0 * height, y0 * mask.width, right * height, below * mask.width)
    try:
        cleaned = clean_mask(part, min_area=min_area, beyond=beyond)
    except HoleReachesBeyondError:
        # What is outside is smaller than a small hole: the picture is hardly larger than the mask.
        x0 = y0 = 0
        cleaned = clean_mask(rle.decode(mask), min_area=min_area)
    if not cleaned.changed:
        return CleanedRle(mask, box, False, cleaned.largest_area)
    left, top, right, bottom = mask_boxes(torch.as_tensor(cleaned.mask)[None])[0].tolist()
    encoded = rle.encode_at(cleaned.mask, x0=x0, y0=y0, height=mask.height, width=mask.width)
    return CleanedRle(encoded, (left + x0, top + y0, right + x0, bottom + y0), True, cleaned.largest_area)


def decode_in_box(mask: Rle, box: Box) -> Mask:
    """Pixels (box height, box width) of a mask that has none outside of the box."""
    x0, y0, x1, y1 = box
    height, width = y1 + 1 - y0, x1 + 1 - x0
    lengths = rle.runs(mask)
    starts = (np.cumsum(lengths) - lengths)[1::2]
    # Only in a box of the picture's height does a run go on at the head of the next column: there both count alike.
    columns, rows = np.divmod(starts, mask.height)
    starts = (columns - x0) * height + rows - y0
    bounds = np.stack([starts, starts + lengths[1::2]], axis=1).ravel()
    runs = np.diff(bounds, prepend=0, append=height * width)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _with_ring(mask: Rle, box: Box) -> tuple[Mask, int, int]:
    """The mask inside its box and a ring of background around it where the picture has room for one; its column, row.

    The ring begins at an even column and row, hence it may be two pixels wide: OpenCV numbers regions by blocks of 2x2,
    and of equally large ones the first stays.
    """
    x0, y0 = max(0, box[0] - 1) // 2 * 2, max(0, box[1] - 1) // 2 * 2
    x1, y1 = min(mask.width, box[2] + 2), min(mask.height, box[3] + 2)
    part = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    part[box[1] - y0 : box[3] + 1 - y0, box[0] - x0 : box[2] + 1 - x0] = decode_in_box(mask, box)
    return part, x0, y0
