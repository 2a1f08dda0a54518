"""Pictures made smaller by Lanczos' filter: the bytes of Pillow's `resize`, in less than half of its time.

Scaling is two thirds of the work of a release without blur. Pillow adds up pixel by pixel; here whole rows are added
up at once, which compilers turn into wide instructions (`python -m benchmarks.release_speed` has both in one run).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.compiled import compiled

Pixels = npt.NDArray[np.uint8]

_LOBES = 3  # of the filter, on each side
_BITS = 22  # of the fraction of a weight; 8 more are the pixel's, one the sign's, one is left for weights over 1
_STRIP_PX = 128  # rows at a time: what is turned about stays in the processor's cache


class _Weights(NamedTuple):
    """first: (N,) rows of the source that a row of the result begins with; weights: (N, taps), 0 behind the last."""

    first: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int32]


def shrink(picture: Image.Image, height: int, width: int) -> Image.Image:
    """An RGB picture at a smaller size in pixels: across first, then down, rounded to 8 bits in between.

    So does Pillow's `resize`, but for pictures more than twice as high as wide, where newer versions begin downwards.
    """
    across, down = _weights(picture.width, width), _weights(picture.height, height)
    narrow = np.empty((picture.height, width, 3), dtype=np.uint8)
    for top in range(0, picture.height, _STRIP_PX):
        strip = picture.crop((0, top, picture.width, min(top + _STRIP_PX, picture.height)))
        turned = _lower(np.asarray(cv2.transpose(np.asarray(strip)), dtype=np.uint8), across)
        narrow[top : top + strip.height] = cv2.transpose(turned)
    return Image.fromarray(_lower(narrow, down))


def _lower(pixels: Pixels, weights: _Weights) -> Pixels:
    """(H, W, 3) to as many rows as there are weights."""
    rows, width = len(weights.first), 3 * pixels.shape[1]
    lower = np.empty((rows, width), dtype=np.uint8)
    _add_up(pixels.reshape(len(pixels), width), *weights, np.empty(width, dtype=np.int32), lower)
    return lower.reshape(rows, pixels.shape[1], 3)


@lru_cache(maxsize=16)  # photographs of one camera have one size
def _weights(size: int, smaller: int) -> _Weights:
    """From so many pixels to so many, by the filter stretched to the scale; they add up to 1 save for rounding."""
    scale = size / smaller
    centre = (np.arange(smaller) + 0.5) * scale
    first = np.maximum((centre - _LOBES * scale + 0.5).astype(np.int64), 0)
    behind = np.minimum((centre + _LOBES * scale + 0.5).astype(np.int64), size)
    tap = np.arange(int((behind - first).max()))
    at = (tap + first[:, None] - centre[:, None] + 0.5) * (1 / scale)
    weights = np.where((at >= -_LOBES) & (at < _LOBES), _sinc(at) * _sinc(at / _LOBES), 0.0)
    weights[tap >= (behind - first)[:, None]] = 0.0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # one after the other, as a loop would
    return _Weights(first, np.trunc(weights * 2.0**_BITS + np.where(weights < 0, -0.5, 0.5)).astype(np.int32))


def _sinc(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    angle = np.where(x == 0, 1.0, x * np.pi)
    return np.where(x == 0, 1.0, np.sin(angle) / angle)


@compiled()
def _add_up(source: Any, first: Any, weights: Any, sums: Any, lower: Any) -> None:
    """source: (H, W); first, weights: of `_Weights`; sums: (W,) int32, room; lower: (N, W), to be filled."""
    width, taps = source.shape[1], weights.shape[1]
    for row in range(len(first)):
        for x in range(width):
            sums[x] = 1 << (_BITS - 1)
        tap = 0
        while tap + 1 < taps and first[row] + tap + 1 < len(source):
            one, other, y = weights[row, tap], weights[row, tap + 1], first[row] + tap
            for x in range(width):
                sums[x] += one * source[y, x] + other * source[y + 1, x]
            tap += 2
        if tap < taps and first[row] + tap < len(source):
            one, y = weights[row, tap], first[row] + tap
            for x in range(width):
                sums[x] += one * source[y, x]
        for x in range(width):
            lower[row, x] = min(max(sums[x] >> _BITS, 0), 255)
