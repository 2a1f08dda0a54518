"""Pictures and masks at the size in which they are released: the shortest side at most as long as configured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import rle as rle_codec
from schemas.mask import Box, Mask, Prompt
from schemas.rle import Rle

JPEG_MAX_SIDE_PX = 65_500
_ROUNDING = 1e-6  # of coverage in source pixels; half is half, however the fractions were summed


@dataclass(frozen=True)
class Scaling:
    """From the size of the source picture to the released size, all in pixels."""

    source_height: int
    source_width: int
    height: int
    width: int

    @classmethod
    def to_shortest_side(cls, height: int, width: int, *, shortest_side_px: int) -> "Scaling":
        """Keep the shape, never enlarge (SA-1B: shortest side 1500 px); no side longer than JPEG can have."""
        scale = min(1.0, shortest_side_px / min(height, width), JPEG_MAX_SIDE_PX / max(height, width))
        return cls(height, width, max(1, round(height * scale)), max(1, round(width * scale)))

    @property
    def factor_x(self) -> float:
        """Source pixels for each released pixel, across."""
        return self.source_width / self.width

    @property
    def factor_y(self) -> float:
        """Source pixels for each released pixel, down."""
        return self.source_height / self.height

    @property
    def is_identity(self) -> bool:
        return (self.height, self.width) == (self.source_height, self.source_width)

    def picture(self, pixels: npt.NDArray[np.uint8]) -> Image.Image:
        """The released picture of a source picture, (source_height, source_width, 3) uint8 RGB."""
        picture = Image.fromarray(pixels)
        if self.is_identity:
            return picture
        return picture.resize((self.width, self.height), Image.Resampling.LANCZOS)

    def released(self, mask: Mask) -> Mask | None:
        """The mask in the released picture, its prompt and crop with it; None where no pixel is left."""
        rle = self.mask(mask.rle)
        if rle is None or self.is_identity:
            return mask if rle is not None else None
        counted = rle_codec.measured(rle)
        prompt, crop_box = self._prompt(mask.prompt), self._box(mask.crop_box)
        return replace(mask, rle=rle, area=counted.area, box=counted.box, prompt=prompt, crop_box=crop_box)

    def mask(self, rle: Rle) -> Rle | None:
        """The mask in the released picture: a pixel is in it if the mask covers at least half of what it was made of.

        None for a mask that covers no pixel so far, such as a line far thinner than a released pixel.
        """
        if self.is_identity:
            return rle
        x0, y0, x1, y1 = rle_codec.box(rle)
        part = rle_codec.decode(rle)[y0:y1, x0:x1]  # only what the mask's box touches is worked on
        top, covered = _shrunk(part, start=y0, factor=self.factor_y, limit=self.height)
        left, covered = _shrunk(covered.T, start=x0, factor=self.factor_x, limit=self.width)
        half = self.factor_x * self.factor_y / 2 - _ROUNDING
        inside = half <= covered.T
        if not inside.any():
            return None
        return rle_codec.encode_at(inside, x0=left, y0=top, height=self.height, width=self.width)

    def coordinates(self, values: Sequence[float]) -> list[float]:
        """Coordinates x, y, x, y, ... of the source picture in the released one."""
        factors = (self.factor_x, self.factor_y) * (len(values) // 2)
        return [value / factor for value, factor in zip(values, factors, strict=True)]

    def _box(self, box: Box) -> Box:
        x0, y0, x1, y1 = self.coordinates(box)
        return x0, y0, x1, y1

    def _prompt(self, prompt: Prompt) -> Prompt:
        """Of a mask that was mended, the mask before is left out where no pixel of it is left."""
        places = self.coordinates([value for x, y, _ in prompt.points for value in (x, y)])
        labels = [label for _, _, label in prompt.points]
        return Prompt(
            tuple(zip(places[0::2], places[1::2], labels, strict=True)),
            None if prompt.box is None else self._box(prompt.box),
            None if prompt.mask is None else self.mask(prompt.mask),
        )


def _shrunk(
    values: npt.NDArray[np.generic], *, start: int, factor: float, limit: int
) -> tuple[int, npt.NDArray[np.float64]]:
    """Sums of the rows of (n, m) values, which begin at row `start`, over cells of `factor` rows each.

    Rows that two cells share count by their share. Returns the first cell and (cells, m); all other cells are empty.
    """
    stop = start + len(values)
    first, last = int(start / factor), min(int(np.ceil(stop / factor)), limit)
    edges = np.clip(np.arange(first, last + 1) * factor, start, stop) - start
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    below = np.minimum(edges.astype(np.int64), len(values))
    above = np.minimum(below + 1, len(values))
    at_edges = sums[below] + (edges - below)[:, None] * (sums[above] - sums[below])
    return first, np.diff(at_edges, axis=0)
