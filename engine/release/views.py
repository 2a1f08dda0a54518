"""In what sizes and parts a picture is looked at by a detector whose cost grows with the picture."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from schemas.errors import InputError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Find = Callable[[Pixels], tuple[Floats, Floats]]


@dataclass(frozen=True)
class View:
    """A part of a picture at a scale. left, top: of the part in the picture; pixels: (h, w, 3) uint8 RGB."""

    left: int
    top: int
    scale: float
    pixels: Pixels

    def in_picture(self, boxes: Floats) -> Floats:
        """(N, 4) XYXY boxes of the view as boxes of the picture."""
        offset = np.array([self.left, self.top] * 2, dtype=np.float32)
        return (boxes / np.float32(self.scale) + offset).astype(np.float32)


@dataclass(frozen=True)
class Looking:
    """How closely to look. area_px: of the picture as a whole, which is scaled to it, up by `most` at most.

    least: where the whole is scaled down further than this, its parts are looked at besides, each at this scale; so
    what is small is found, and what is large too. overlap_px: of the parts, in the picture: what is at most so large
    lies whole in one of them.
    """

    area_px: int
    most: float
    least: float
    overlap_px: int

    def found(self, pixels: Pixels, find: Find) -> tuple[Floats, Floats]:
        """(N, 4) XYXY boxes in the picture and (N,) scores of all that `find` gives of its views."""
        boxes: list[Floats] = []
        scores: list[Floats] = []
        for view in self.views(pixels):
            in_view, sure = find(view.pixels)
            boxes.append(view.in_picture(in_view))
            scores.append(sure)
        return np.concatenate(boxes), np.concatenate(scores)

    def views(self, pixels: Pixels) -> Iterator[View]:
        """pixels: (H, W, 3) uint8 RGB. The whole first."""
        height, width, _ = pixels.shape
        scale = min(math.sqrt(self.area_px / (height * width)), self.most)
        yield View(0, 0, scale, _scaled(pixels, scale))
        if scale >= self.least:
            return
        side = max(round(math.sqrt(self.area_px) / self.least), 2 * self.overlap_px)
        for top in _starts(height, side, self.overlap_px):
            for left in _starts(width, side, self.overlap_px):
                yield View(left, top, self.least, _scaled(pixels[top : top + side, left : left + side], self.least))


def other_opencv(what: str) -> InputError:
    """What is said where another package has put its own OpenCV over the one that this package needs."""
    return InputError(
        f"OpenCV {cv2.__version__} cannot {what}: another package brought it; pip uninstall opencv-python and then "
        "pip install --force-reinstall --no-deps 'opencv-python-headless>=4.12,<4.13'"
    )


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where parts of one length begin, so that they cover everything and overlap by at least so much."""
    if length <= side:
        return [0]
    count = math.ceil((length - overlap) / (side - overlap))
    return [round(number * (length - side) / (count - 1)) for number in range(count)]


def _scaled(pixels: Pixels, scale: float) -> Pixels:
    if scale == 1:
        return pixels
    height, width, _ = pixels.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)
