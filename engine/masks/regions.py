"""Small holes and islands of a mask: 8-connected regions, as OpenCV counts them."""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class CleanedMask(NamedTuple):
    """mask: (H, W) bool. changed: a small region was found. largest_area: pixels of the largest component before
    islands went (0 for an empty mask)."""

    mask: Mask
    changed: bool
    largest_area: int


class Beyond(NamedTuple):
    """Pixels of background that lie beyond the sides of a part of a picture. Where there are any, that side of the part
    is background too, all of it."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


class HoleReachesBeyondError(Exception):
    """A small hole goes on outside the part of the picture that was given: the whole picture is needed."""


def clean_mask(mask: Mask, *, min_area: int, beyond: Beyond = Beyond()) -> CleanedMask:
    """Fill holes, then drop islands, that have fewer than `min_area` pixels.

    mask: a picture, or the part of it that has foreground. Where every component is that small the largest stays, the
    first of equals. As in the published code, background that touches the edge counts as a hole too, and a lone
    component under `min_area` counts as a change although it stays: the duplicates that are sought afterwards depend on
    it.
    Raises HoleReachesBeyondError.
    """
    filled, had_holes = fill_holes(mask, min_area=min_area, beyond=beyond)
    labels, areas = _regions(filled)
    largest_area = int(areas.max(initial=0))
    small = areas < min_area
    if not small.any():
        return CleanedMask(filled, had_holes, largest_area)
    keep = ~small if not small.all() else np.arange(len(areas)) == areas.argmax()
    return CleanedMask(_select(labels, keep, background=False), True, largest_area)


def fill_holes(mask: Mask, *, min_area: int, beyond: Beyond = Beyond()) -> tuple[Mask, bool]:
    """Fill regions of background with fewer than `min_area` pixels. Returns the mask and whether there were any.

    Raises HoleReachesBeyondError.
    """
    labels, areas = _regions(~mask)
    outside = [labels[side] for side, pixels in zip(((0, 0), (0, 0), (0, -1), (-1, 0)), beyond, strict=True) if pixels]
    for label, pixels in zip(outside, [pixels for pixels in beyond if pixels], strict=True):
        areas[label - 1] += pixels
    small = areas < min_area
    if not small.any():
        return mask, False
    if any(small[label - 1] for label in outside):
        raise HoleReachesBeyondError
    return _select(labels, small, background=True), True


def _regions(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """(H, W) labels, 0 outside, and the areas of labels 1, 2, ..."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels, stats[1:, cv2.CC_STAT_AREA].astype(np.int64)


def _select(labels: npt.NDArray[np.int32], chosen: npt.NDArray[np.bool_], *, background: bool) -> Mask:
    """Where a label is chosen; label 0 if `background`."""
    return np.concatenate([[background], chosen])[labels]
