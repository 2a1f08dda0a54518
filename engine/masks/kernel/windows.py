"""What the pixels of single masks depend on, cut from their logits and made small, for masks that wait.

Away from its border it matters only on which side of the thresholds a mask's logits are, so that only those near to it
are kept by value: about a tenth of the memory of the logits.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Bytes = npt.NDArray[np.uint8]


class Kept(NamedTuple):
    """What the kernel takes of a window; see there."""

    above: Bytes
    near: Bytes
    values: npt.NDArray[np.float32]
    peak: np.float32
    part: tuple[int, int, int, int]


class Window(NamedTuple):
    """A part (h', w') of the logits (h, w) of a mask, from row y0 and column x0 on; all others are below.

    above, near: bits (h', w'' / 8), rows padded; values (k,) float32: logits at the places that are near.
    peak: the largest magnitude of all logits. low_hw: (h, w). box and threshold: of the mask, the box XYXY, inclusive.
    device: where the mask was measured.
    """

    above: Bytes
    near: Bytes
    values: npt.NDArray[np.float32]
    peak: np.float32
    width: int
    y0: int
    x0: int
    low_hw: tuple[int, int]
    box: tuple[int, int, int, int]
    threshold: float
    device: torch.device

    @property
    def nbytes(self) -> int:
        return self.above.nbytes + self.near.nbytes + self.values.nbytes

    @property
    def part(self) -> tuple[int, int, int, int]:
        """First row, the one after the last, first column, the one after the last."""
        return self.y0, self.y0 + len(self.above), self.x0, self.x0 + self.width

    @property
    def kept(self) -> Kept:
        return Kept(self.above, self.near, self.values, self.peak, self.part)

    def logits(self) -> npt.NDArray[np.float32]:
        """(h', w') float32 that give the same mask: true values near its border, on the same side elsewhere."""
        above = np.unpackbits(self.above, axis=1, count=self.width)
        logits = np.where(above, self.peak, -self.peak)
        logits[np.unpackbits(self.near, axis=1, count=self.width).view(bool)] = self.values
        return logits


class Packed(NamedTuple):
    """What windows are made of, of some masks, one after the other; filled by `surveying.survey` and `surveying.pack`.

    above, near: bits of their rows, padded to whole bytes. values: logits at the places that are near. ends (k, 2):
    where the bits and the values of a mask end. peaks (k,): largest magnitudes, as bits. sides, words: the same
    memory, room for one row.
    """

    above: Bytes
    near: Bytes
    values: npt.NDArray[np.float32]
    ends: npt.NDArray[np.int64]
    peaks: npt.NDArray[np.int32]
    sides: Bytes
    words: npt.NDArray[np.uint64]

    def windows(
        self,
        parts: npt.NDArray[np.int32],
        boxes: npt.NDArray[np.int64],
        *,
        low_hw: tuple[int, int],
        threshold: float,
        device: torch.device,
    ) -> list[Window]:
        """The windows of k masks, copied; parts (k, 4): as `Window.part`; boxes (k, 4)."""
        ends = self.ends[: len(parts)].tolist()
        n_bytes, n_values = ends[-1]
        above, near, values = self.above[:n_bytes].copy(), self.near[:n_bytes].copy(), self.values[:n_values].copy()
        windows, bit, value = [], 0, 0
        of_each = zip(parts.tolist(), boxes.tolist(), ends, self.peaks.view(np.float32), strict=False)
        for (y0, y1, x0, x1), box, (bits_end, values_end), peak in of_each:
            row_bytes = (y1 - y0, -(-(x1 - x0) // 8))
            windows.append(
                Window(
                    above[bit:bits_end].reshape(row_bytes),
                    near[bit:bits_end].reshape(row_bytes),
                    values[value:values_end],
                    peak,
                    x1 - x0,
                    y0,
                    x0,
                    low_hw,
                    tuple(box),
                    threshold,
                    device,
                )
            )
            bit, value = bits_end, values_end
        return windows


def make_packed(n_masks: int, *, low_hw: tuple[int, int]) -> Packed:
    """Room for so many masks."""
    height, width = low_hw
    words = np.zeros(-(-width // 8), dtype=np.uint64)
    n_bytes = n_masks * height * len(words)
    return Packed(
        above=np.empty(n_bytes, dtype=np.uint8),
        near=np.empty(n_bytes, dtype=np.uint8),
        values=np.empty(n_masks * height * width + 1, dtype=np.float32),  # one is written before it is counted
        ends=np.empty((n_masks, 2), dtype=np.int64),
        peaks=np.empty(n_masks, dtype=np.int32),
        sides=words.view(np.uint8),
        words=words,
    )
