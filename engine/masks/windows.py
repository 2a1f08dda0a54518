"""What the pixels of single masks depend on, cut from their logits and made small, for masks that wait.

Away from its border it matters only on which side of the threshold a mask's logits are, so that only those near to it
are kept by value: a tenth of the memory of the logits, or less.
"""

from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.masks.tables import upscaling_axes
from model.lanes import lane_count, side_by_side
from model.upscaling import Upscaling

_MASKS_A_PART = 16
Bytes = npt.NDArray[np.uint8]


class Window(NamedTuple):
    """A part (h', w') of the logits (h, w) of a mask, from row y0 and column x0 on; all others are below.

    above, near: bits (h', w'' / 8), rows padded; values (k,) float32: logits at the places that are near.
    peak: the largest magnitude in the part. low_hw: (h, w). box and threshold: of the mask, the box XYXY, inclusive.
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

    def logits(self) -> npt.NDArray[np.float32]:
        """(h', w') float32 that give the same mask: true values near its border, on the same side elsewhere."""
        above = np.unpackbits(self.above, axis=1, count=self.width)
        logits = np.where(above, self.peak, -self.peak)
        logits[np.unpackbits(self.near, axis=1, count=self.width).view(bool)] = self.values
        return logits

    def write_logits(self, out: npt.NDArray[np.float32]) -> None:
        """Fill `out` (h, w) with logits that give the same mask."""
        out.fill(-self.peak)
        out[self.y0 : self.y0 + len(self.above), self.x0 : self.x0 + self.width] = self.logits()


class _Room(NamedTuple):
    """Memory of one thread for `packing.pack`."""

    codes: Bytes
    other: Bytes
    sides: Bytes
    words: npt.NDArray[np.uint64]
    above: Bytes
    near: Bytes
    values: npt.NDArray[np.float32]
    ends: npt.NDArray[np.int64]
    peaks: npt.NDArray[np.int32]


def cut_windows(
    logits: Tensor,
    index: Tensor,
    boxes: Tensor,
    parts: npt.NDArray[np.int32],
    upscaling: Upscaling,
    *,
    threshold: float,
    offset: float,
) -> list[Window]:
    """Of the masks `index` (m,) among n (n, h, w) float32, with boxes (m, 4) that need `parts` (m, 4) of their logits.

    parts: first row, the one after the last, first column, the one after the last. Pixels are kept as they are at any
    threshold between threshold - offset and threshold + offset.
    """
    from engine.masks import kernel, packing

    low_hw = (logits.shape[1], logits.shape[2])
    rows, columns = upscaling_axes(upscaling, low_hw, fused=True)
    corners = boxes.numpy()
    if logits.device.type == "cpu":
        low, places = logits.contiguous().numpy(), index.numpy()
    else:
        low, places = logits[index.to(logits.device)].cpu().numpy(), np.arange(len(index))
    radius = (rows.span, columns.span)  # one more than needed: other rounding may begin at another row
    bounds = (np.float32(threshold - offset), np.float32(threshold + offset))
    fixed = (bounds, (kernel.MARGIN, kernel.TINY), radius)
    rooms: SimpleQueue[_Room] = SimpleQueue()
    for _ in range(lane_count()):
        rooms.put(_make_room(low_hw, radius))

    def some(chosen: slice) -> list[Window]:
        room = rooms.get()
        packing.pack(low, low.view(np.int32), places[chosen], parts[chosen], *fixed, room)
        cut = _windows(room, parts[chosen], corners[chosen], low_hw, threshold, logits.device)
        rooms.put(room)
        return cut

    starts = range(0, len(places), _MASKS_A_PART)
    windows = side_by_side(some, [slice(start, start + _MASKS_A_PART) for start in starts])
    return [window for part in windows for window in part]


def _windows(
    room: _Room,
    parts: npt.NDArray[np.int32],
    boxes: npt.NDArray[np.int64],
    low_hw: tuple[int, int],
    threshold: float,
    device: torch.device,
) -> list[Window]:
    """What lies in `room`, copied."""
    ends = room.ends[: len(parts)].tolist()
    n_bytes, n_values = ends[-1]
    above, near, values = room.above[:n_bytes].copy(), room.near[:n_bytes].copy(), room.values[:n_values].copy()
    windows, bit, value = [], 0, 0
    peaks = room.peaks.view(np.float32)
    for (y0, y1, x0, x1), box, (bits_end, values_end), peak in zip(
        parts.tolist(), boxes.tolist(), ends, peaks, strict=False
    ):
        row_bits = (y1 - y0, -1)
        windows.append(
            Window(
                above[bit:bits_end].reshape(row_bits),
                near[bit:bits_end].reshape(row_bits),
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


def _make_room(low_hw: tuple[int, int], radius: tuple[int, int]) -> _Room:
    height, width = low_hw
    n_codes = (height + 2 * radius[0]) * (width + 2 * radius[1])
    words = np.zeros(-(-width // 8), dtype=np.uint64)
    row_bytes = height * len(words) * _MASKS_A_PART
    return _Room(
        codes=np.empty(n_codes, dtype=np.uint8),
        other=np.empty(n_codes, dtype=np.uint8),
        sides=words.view(np.uint8),
        words=words,
        above=np.empty(row_bytes, dtype=np.uint8),
        near=np.empty(row_bytes, dtype=np.uint8),
        values=np.empty(height * width * _MASKS_A_PART + 1, dtype=np.float32),  # one is written before it is counted
        ends=np.empty((_MASKS_A_PART, 2), dtype=np.int64),
        peaks=np.empty(_MASKS_A_PART, dtype=np.int32),
    )
