"""Outlines as many tools write them: rings with holes, ellipses, points as text."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from engine import rle as rle_codec

_CORNERS = 72


def even_odd(rings: Sequence[Sequence[float]], *, height: int, width: int) -> dict[str, Any]:
    """The COCO RLE of what lies within an odd number of rings (x, y, x, y, ...): a ring within another is a hole.

    Raises InputError where a ring has fewer than three corners.
    """
    inside = np.zeros((height, width), dtype=bool)
    for ring in rings:
        inside ^= rle_codec.decode(rle_codec.from_coco([list(ring)], height, width))
    return rle_codec.encode(inside).to_coco()


def filled(rings: Sequence[Sequence[float]], *, height: int, width: int) -> dict[str, Any]:
    """The COCO RLE of outlines whose corners are pixels of the object, as contours of masks have them.

    rings: x, y, x, y, ... of the pixels' columns and rows; those between belong to the object, the outline too.
    Raises ValueError where a ring is no list of pairs of numbers.
    """
    inside = np.zeros((height, width), dtype=np.uint8)
    for ring in rings:
        corners = np.round(np.asarray(ring, dtype=np.float64).reshape(-1, 2))
        if not (np.abs(corners) < 2**30).all():
            raise ValueError("corners far outside")
        cv2.fillPoly(inside, [corners.astype(np.int32)], 1)
    return rle_codec.encode(inside.astype(bool)).to_coco()


def circle(cx: float, cy: float, radius: float) -> list[float]:
    """The corners x, y, x, y, ... of a circle."""
    return ellipse(cx, cy, radius, radius)


def ellipse(cx: float, cy: float, rx: float, ry: float, *, turn_rad: float = 0.0) -> list[float]:
    """The corners x, y, x, y, ... of an ellipse, turned clockwise as pictures are seen."""
    angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    along, across = rx * np.cos(angles), ry * np.sin(angles)
    x = cx + along * math.cos(turn_rad) - across * math.sin(turn_rad)
    y = cy + along * math.sin(turn_rad) + across * math.cos(turn_rad)
    corners: list[float] = np.stack([x, y], axis=1).ravel().tolist()
    return corners
