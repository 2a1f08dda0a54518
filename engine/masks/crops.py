"""Overlapping crops of an image, layer by layer: layer i has 2**i crops a side."""

import math
from typing import NamedTuple

from schemas.errors import InputError


class Crop(NamedTuple):
    """A window of the image, XYXY in pixels, right and bottom exclusive; layer 0 is the image itself."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.x0, self.y0, self.x1, self.y1


def make_crops(image_hw: tuple[int, int], *, n_layers: int, overlap_ratio: float) -> list[Crop]:
    """The image, then the crops of each layer, column by column (SAM paper, appendix B; order of the published code).

    image_hw: (height, width) in pixels.
    overlap_ratio: overlap of neighbours in layer 1, as a fraction of the image's short side; halved in each layer.
    Raises InputError if the image has no pixels, or too few for crops of that layer.
    """
    height, width = image_hw
    if height < 1 or width < 1:
        raise InputError(f"an image needs at least one pixel, this one is {width}x{height}")
    crops = [Crop(0, 0, width, height, layer=0)]
    for layer in range(1, n_layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(image_hw) * (2 / per_side))
        columns = _spans(width, per_side, overlap)
        rows = _spans(height, per_side, overlap)
        crops += [Crop(x0, y0, x1, y1, layer) for x0, x1 in columns for y0, y1 in rows]
    for crop in crops:
        if crop.width < 1 or crop.height < 1:
            raise InputError(
                f"a {width}x{height} image is too small for {2**crop.layer} crops a side; "
                f"set crop_n_layers below {crop.layer}"
            )
    return crops


def _spans(length: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """Start and end of `count` equal windows over `length` pixels; the last is cut at the end."""
    size = math.ceil((overlap * (count - 1) + length) / count)
    return [(start, min(start + size, length)) for start in (i * (size - overlap) for i in range(count))]
