"""Masks that wait for suppression within their crop: kept as the logits they are made of, RLE only when they stay."""

from engine import rle
from engine.masks.crops import Crop
from engine.masks.measuring import Window, rasterise
from model.upscaling import Upscaling

MASK_THRESHOLD = 0.0


class Pending:
    """The masks of one crop, in the order in which they come. Together they hold at most `budget_bytes` of logits:
    beyond that, those that wait become RLEs early, which changes no mask."""

    def __init__(self, crop: Crop, upscaling: Upscaling, *, image_hw: tuple[int, int], budget_bytes: int) -> None:
        self.masks: list[Window | rle.Rle] = []
        self._crop, self._upscaling, self._image_hw = crop, upscaling, image_hw
        self._budget_bytes, self._held_bytes = budget_bytes, 0

    def add(self, windows: list[Window]) -> list[int]:
        """Returns the places of the new masks."""
        first = len(self.masks)
        for window in windows:
            self._held_bytes += window.logits.nbytes
            self.masks.append(window)
            if self._held_bytes > self._budget_bytes:
                self.masks = [self.encoded(place) for place in range(len(self.masks))]
                self._held_bytes = 0
        return list(range(first, len(self.masks)))

    def encoded(self, place: int) -> rle.Rle:
        """The mask as RLE, in the frame of the image."""
        mask = self.masks[place]
        if isinstance(mask, rle.Rle):
            return mask
        inside = rasterise(mask, self._upscaling, threshold=MASK_THRESHOLD)
        height, width = self._image_hw
        x0, y0 = self._crop.x0 + mask.box[0], self._crop.y0 + mask.box[1]
        return rle.encode_at(inside, x0=x0, y0=y0, height=height, width=width)
