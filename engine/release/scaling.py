"""Pictures and masks at the size in which they are released: the shortest side at most as long as configured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from engine import rle as rle_codec
from schemas.mask import Box, Mask, Prompt
from schemas.rle import Rle

JPEG_MAX_SIDE_PX = 65_500


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
        from engine.release.lanczos import shrink

        return shrink(picture, self.height, self.width)

    def released(self, masks: Sequence[Mask]) -> list[Mask | None]:
        """The masks in the released picture, prompts and crops with them; None where no pixel is left."""
        if self.is_identity:
            return list(masks)
        return [
            None if found is None else self._moved(mask, *found)
            for mask, found in zip(masks, self._scaled([mask.rle for mask in masks]), strict=True)
        ]

    def masks(self, rles: Sequence[Rle]) -> list[Rle | None]:
        """The masks in the released picture: a pixel is in one if that covers at least half of what it was made of.

        None for a mask that covers no pixel so far, such as a line far thinner than a released pixel.
        Raises InputError if the counts of one are broken.
        """
        if self.is_identity:
            return list(rles)
        return [None if found is None else found[0] for found in self._scaled(rles)]

    def _scaled(self, rles: Sequence[Rle]) -> list[tuple[Rle, int, Box] | None]:
        """With area and box."""
        found: list[tuple[Rle, int, Box] | None] = []
        while len(found) < len(rles):
            found.extend(self._some(rles[len(found) :]))
        return found

    def _some(self, rles: Sequence[Rle]) -> Iterator[tuple[Rle, int, Box] | None]:
        """Of as many as have room where they are written to, which is at least one."""
        from engine.release.run_kernel import BROKEN, EVENTS, MOST_BYTES, scale_all

        ends = np.cumsum([0, *(len(rle.counts) for rle in rles)])
        longest = int(np.diff(ends).max())
        # A piece is part of two released columns at most, and in each the mask begins or ends at four rows of it.
        runs = 8 * (longest + self.source_width) + 4
        written = np.empty(MOST_BYTES * runs + int(ends[-1]), dtype=np.uint8)
        sizes = np.empty(len(rles), dtype=np.int64)
        measured = np.empty((len(rles), 5), dtype=np.int64)
        done = scale_all(
            np.frombuffer(b"".join(rle.counts for rle in rles), dtype=np.uint8),
            ends,
            (self.source_height, self.source_width, self.height, self.width),
            np.empty(longest, dtype=np.int64),
            np.empty((3, longest + self.source_width), dtype=np.int64),
            np.empty((2, self.source_height + 1), dtype=np.int64),
            np.zeros((2, self.height + 2), dtype=np.int64),
            np.empty(EVENTS, dtype=np.int64),
            np.empty(runs, dtype=np.int64),
            written,
            sizes,
            measured,
        )
        start = 0
        for rle, size, (area, x0, y0, x1, y1) in zip(rles[:done], sizes.tolist(), measured.tolist(), strict=False):
            if size == BROKEN:
                rle_codec.runs(rle)  # says what is wrong
            if size > 0:
                yield Rle(self.height, self.width, written[start : start + size].tobytes()), area, (x0, y0, x1, y1)
                start += size
            else:
                yield None

    def _moved(self, mask: Mask, rle: Rle, area: int, box: Box) -> Mask:
        prompt, crop_box = self._prompt(mask.prompt), self._box(mask.crop_box)
        return replace(mask, rle=rle, area=area, box=box, prompt=prompt, crop_box=crop_box)

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
            None if prompt.mask is None else self.masks([prompt.mask])[0],
        )
