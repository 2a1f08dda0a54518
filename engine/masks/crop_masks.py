"""Masks that wait for suppression within their crop: kept as what they are made of, RLE only when they stay."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine import rle
from engine.masks.crops import Crop
from engine.masks.kernel.windows import Window
from engine.masks.measuring import Survey, count, rasterise
from model.upscaling import Upscaling
from schemas.rle import Rle

MASK_THRESHOLD = 0.0


class CropMasks:
    """The masks of one crop, in the order in which they come.

    offset: of the stability score. When the masks that wait take more than `max_bytes`, they are counted and become
    RLEs early, which changes no mask.
    """

    def __init__(
        self, crop: Crop, upscaling: Upscaling, *, image_hw: tuple[int, int], offset: float, max_bytes: int
    ) -> None:
        self.masks: list[Window | Rle] = []
        self._counts: dict[int, list[int]] = {}
        self._crop, self._upscaling, self._image_hw = crop, upscaling, image_hw
        self._offset, self._max_bytes, self._bytes = offset, max_bytes, 0

    def add(self, found: Survey, index: Tensor) -> list[int]:
        """Keep the masks `index` (m,) of those that were surveyed. Returns their places."""
        windows = [found.windows[row] for row in index.tolist()]
        places = list(range(len(self.masks), len(self.masks) + len(windows)))
        self.masks += windows
        if found.counts is not None:
            self._counts.update(zip(places, found.counts[index].tolist(), strict=True))
        self._bytes += sum(window.nbytes for window in windows)
        if self._bytes > self._max_bytes:
            everything = range(len(self.masks))
            self.counts(everything)
            self.masks = [self.encoded(place) for place in everything]
            self._bytes = 0
        return places

    def counts(self, places: Sequence[int]) -> Tensor:
        """(m, 3) int64: intersection, union and area of the masks at `places`, as `measuring.count` gives them."""
        unknown = [place for place in places if place not in self._counts]
        windows = [mask for place in unknown if isinstance(mask := self.masks[place], Window)]
        counted = count(windows, self._upscaling, offset=self._offset)
        self._counts.update(zip(unknown, counted.tolist(), strict=True))
        return torch.tensor([self._counts[place] for place in places], dtype=torch.int64).reshape(-1, 3)

    def encoded(self, place: int) -> Rle:
        """The mask as RLE, in the frame of the image."""
        mask = self.masks[place]
        if isinstance(mask, Rle):
            return mask
        inside = rasterise(mask, self._upscaling)
        height, width = self._image_hw
        x0, y0 = self._crop.x0 + mask.box[0], self._crop.y0 + mask.box[1]
        return rle.encode_at(inside, x0=x0, y0=y0, height=height, width=width)
