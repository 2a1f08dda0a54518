"""Pictures and masks at the size in which they are released: the shortest side at most as long as configured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from engine import rle as rle_codec
from schemas.mask import Box, Mask, Prompt
from schemas.rle import Rle

JPEG_MAX_SIDE_PX = 65_500
_MOST_BYTES = 7  # of a run length in compressed counts


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

    def picture(self, picture: Image.Image) -> Image.Image:
        """The released picture of a source picture, RGB."""
        if self.is_identity:
            return picture
        return picture.resize((self.width, self.height), Image.Resampling.LANCZOS)

    def released(self, mask: Mask) -> Mask | None:
        """The mask in the released picture, its prompt and crop with it; None where no pixel is left."""
        if self.is_identity:
            return mask
        found = self._scaled(mask.rle)
        if found is None:
            return None
        rle, area, box = found
        prompt, crop_box = self._prompt(mask.prompt), self._box(mask.crop_box)
        return replace(mask, rle=rle, area=area, box=box, prompt=prompt, crop_box=crop_box)

    def mask(self, rle: Rle) -> Rle | None:
        """The mask in the released picture: a pixel is in it if the mask covers at least half of what it was made of.

        None for a mask that covers no pixel so far, such as a line far thinner than a released pixel.
        Raises InputError if the counts are broken.
        """
        if self.is_identity:
            return rle
        found = self._scaled(rle)
        return None if found is None else found[0]

    def _scaled(self, rle: Rle) -> tuple[Rle, int, Box] | None:
        """With its area and its box."""
        from engine.release.run_kernel import BROKEN, EVENTS, scale

        counts = np.frombuffer(rle.counts, dtype=np.uint8)
        pieces = np.empty((3, len(counts) + self.source_width), dtype=np.int64)
        # A piece is part of two released columns at most, and in each the mask begins or ends at four rows of it.
        scaled = np.empty(8 * pieces.shape[1] + 4, dtype=np.int64)
        written = np.empty(_MOST_BYTES * len(scaled), dtype=np.uint8)
        found = np.zeros(5, dtype=np.int64)
        size = scale(
            counts,
            (self.source_height, self.source_width, self.height, self.width),
            np.empty(len(counts), dtype=np.int64),
            pieces,
            np.zeros((2, self.height + 2), dtype=np.int64),
            np.empty(EVENTS, dtype=np.int64),
            scaled,
            written,
            found,
        )
        if size == BROKEN:
            rle_codec.runs(rle)  # says what is wrong
        if size <= 0:
            return None
        area, x0, y0, x1, y1 = found.tolist()
        return Rle(self.height, self.width, written[:size].tobytes()), area, (x0, y0, x1, y1)

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
