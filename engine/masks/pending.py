"""Masks that wait for suppression within their crop: kept as the logits they are made of, RLE only when they stay."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from engine import rle
from engine.masks.crops import Crop
from engine.masks.measuring import Window, cut_windows, rasterise
from model.upscaling import Upscaling

MASK_THRESHOLD = 0.0


class Pending:
    """The masks of one crop, in the order in which they come.

    Their logits are copied to `room` (k,) float32, memory that is used again and again. When it is full, those that
    wait become RLEs early, which changes no mask.
    """

    def __init__(
        self, crop: Crop, upscaling: Upscaling, *, image_hw: tuple[int, int], room: npt.NDArray[np.float32]
    ) -> None:
        self.masks: list[Window | rle.Rle] = []
        self._crop, self._upscaling, self._image_hw = crop, upscaling, image_hw
        self._room, self._used = room, 0

    def add(self, logits: Tensor, index: Tensor, boxes: Tensor) -> list[int]:
        """Keep the masks `index` (m,) of n (n, h, w), with inclusive boxes (m, 4) in pixels of the crop.

        Returns their places.
        """
        first = len(self.masks)
        for window in cut_windows(logits, index, boxes, self._upscaling, room=self._take):
            self.masks.append(window)
        return list(range(first, len(self.masks)))

    def _take(self, size: int) -> npt.NDArray[np.float32]:
        if self._used + size > len(self._room):
            self.masks = [self.encoded(place) for place in range(len(self.masks))]
            self._used = 0
        if size > len(self._room):
            return np.empty(size, dtype=np.float32)
        self._used += size
        return self._room[self._used - size : self._used]

    def encoded(self, place: int) -> rle.Rle:
        """The mask as RLE, in the frame of the image."""
        mask = self.masks[place]
        if isinstance(mask, rle.Rle):
            return mask
        inside = rasterise(mask, self._upscaling, threshold=MASK_THRESHOLD)
        height, width = self._image_hw
        x0, y0 = self._crop.x0 + mask.box[0], self._crop.y0 + mask.box[1]
        return rle.encode_at(inside, x0=x0, y0=y0, height=height, width=width)
