"""Making a part of a picture unrecognisable, and leaving every pixel around it as it is."""

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
PixelBox = tuple[int, int, int, int]

PADDING_FRAC = 0.2  # of each side: detectors cut off foreheads, chins and the rims of plates
_EDGE_FRAC = 0.1  # of each side, from the border inwards: there the blur fades into the picture
_CELLS = 4  # colours along the shorter side, all that is left of it


def padded(box: npt.NDArray[np.float32], *, height: int, width: int) -> PixelBox:
    """The whole pixels of an XYXY box in a picture with padding around it, as far as the picture goes."""
    x0, y0, x1, y1 = (float(value) for value in box)
    across, down = (x1 - x0) * PADDING_FRAC, (y1 - y0) * PADDING_FRAC
    left, top = max(0, int(np.floor(x0 - across))), max(0, int(np.floor(y0 - down)))
    return left, top, min(width, int(np.ceil(x1 + across))), min(height, int(np.ceil(y1 + down)))


def blurred(pixels: Pixels, boxes: list[PixelBox]) -> Pixels:
    """A copy of a (H, W, 3) uint8 RGB picture in which of each box only a few colours are left, drawn smoothly."""
    result = pixels.copy()
    for x0, y0, x1, y1 in boxes:
        part = result[y0:y1, x0:x1]
        weight = _weight(y1 - y0, x1 - x0)
        mixed = part + weight * (_few_colours(part).astype(np.float32) - part)
        result[y0:y1, x0:x1] = np.round(mixed).astype(np.uint8)
    return result


def _few_colours(part: Pixels) -> Pixels:
    height, width, _ = part.shape
    cell = max(1.0, min(height, width) / _CELLS)
    few = (max(1, round(width / cell)), max(1, round(height / cell)))
    cells = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _weight(height: int, width: int) -> npt.NDArray[np.float32]:
    """(height, width, 1): 1 inside, falling towards the border of the box."""
    weight: npt.NDArray[np.float32] = np.minimum(_ramp(height)[:, None], _ramp(width)[None, :])[..., None]
    return weight


def _ramp(length: int) -> npt.NDArray[np.float32]:
    edge = max(1.0, length * _EDGE_FRAC)
    from_border = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(from_border / edge, 1).astype(np.float32)
