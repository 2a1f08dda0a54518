"""Masks that wait for suppression within their crop: kept as what they are made of, RLE only when they stay."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine import rle
from engine.masks.crops import Crop
from engine.masks.measuring import Survey, measure_windows, rasterise
from engine.masks.windows import Window, cut_windows
from model.upscaling import Upscaling

MASK_THRESHOLD = 0.0


class Pending:
    """The masks of one crop, in the order in which they come.

    offset: of the stability score. When the masks that wait take more than `max_bytes`, they are measured and become
    RLEs early, which changes no mask.
    """

    def __init__(
        self, crop: Crop, upscaling: Upscaling, *, image_hw: tuple[int, int], offset: float, max_bytes: int
    ) -> None:
        self.masks: list[Window | rle.Rle] = []
        self._counts: list[tuple[int, int, int] | None] = []
        self._crop, self._upscaling, self._image_hw = crop, upscaling, image_hw
        self._offset, self._max_bytes, self._bytes = offset, max_bytes, 0

    def add(self, logits: Tensor, index: Tensor, found: Survey) -> list[int]:
        """Keep the masks `index` (m,) of n (n, h, w), which `found` is of. Returns their places."""
        first, offset, known = len(self.masks), self._offset, found.measures
        if known is not None:
            offset = 0.0  # only pixels are still to be found
            self._counts += zip(*(each[index].tolist() for each in known[:3]), strict=True)
        else:
            self._counts += [None] * len(index)
        boxes, parts = found.boxes[index], found.parts[index.numpy()]
        windows = cut_windows(logits, index, boxes, parts, self._upscaling, threshold=MASK_THRESHOLD, offset=offset)
        self.masks += windows
        self._bytes += sum(window.nbytes for window in windows)
        if self._bytes > self._max_bytes:
            everything = range(len(self.masks))
            self.counts(everything)
            self.masks = [self.encoded(place) for place in everything]
            self._bytes = 0
        return list(range(first, len(self.masks)))

    def counts(self, places: Sequence[int]) -> Tensor:
        """(m, 3) int64: intersection, union and area of the masks, as in `measuring.Measures`."""
        windows = {
            place: mask
            for place in places
            if isinstance(mask := self.masks[place], Window) and self._counts[place] is None
        }
        measured = measure_windows(list(windows.values()), self._upscaling, offset=self._offset)
        for place, *counts in zip(windows, *(each.tolist() for each in measured[:3]), strict=True):
            self._counts[place] = tuple(counts)
        return torch.tensor([self._counts[place] for place in places], dtype=torch.int64).reshape(-1, 3)

    def encoded(self, place: int) -> rle.Rle:
        """The mask as RLE, in the frame of the image."""
        mask = self.masks[place]
        if isinstance(mask, rle.Rle):
            return mask
        inside = rasterise(mask, self._upscaling)
        height, width = self._image_hw
        x0, y0 = self._crop.x0 + mask.box[0], self._crop.y0 + mask.box[1]
        return rle.encode_at(inside, x0=x0, y0=y0, height=height, width=width)
