"""Masks that wait for suppression within their crop: kept as what they are made of, RLE only when they stay."""

from torch import Tensor

from engine import rle
from engine.masks.crops import Crop
from engine.masks.measuring import rasterise
from engine.masks.windows import Window, cut_windows
from model.upscaling import Upscaling

MASK_THRESHOLD = 0.0


class Pending:
    """The masks of one crop, in the order in which they come.

    When those that wait take more than `max_bytes`, they become RLEs early, which changes no mask.
    """

    def __init__(self, crop: Crop, upscaling: Upscaling, *, image_hw: tuple[int, int], max_bytes: int) -> None:
        self.masks: list[Window | rle.Rle] = []
        self._crop, self._upscaling, self._image_hw = crop, upscaling, image_hw
        self._max_bytes, self._bytes = max_bytes, 0

    def add(self, logits: Tensor, index: Tensor, boxes: Tensor) -> list[int]:
        """Keep the masks `index` (m,) of n (n, h, w), with inclusive boxes (m, 4) in pixels of the crop.

        Returns their places.
        """
        first = len(self.masks)
        windows = cut_windows(logits, index, boxes, self._upscaling, threshold=MASK_THRESHOLD)
        self.masks += windows
        self._bytes += sum(window.nbytes for window in windows)
        if self._bytes > self._max_bytes:
            self.masks = [self.encoded(place) for place in range(len(self.masks))]
            self._bytes = 0
        return list(range(first, len(self.masks)))

    def encoded(self, place: int) -> rle.Rle:
        """The mask as RLE, in the frame of the image."""
        mask = self.masks[place]
        if isinstance(mask, rle.Rle):
            return mask
        inside = rasterise(mask, self._upscaling)
        height, width = self._image_hw
        x0, y0 = self._crop.x0 + mask.box[0], self._crop.y0 + mask.box[1]
        return rle.encode_at(inside, x0=x0, y0=y0, height=height, width=width)
