"""Which low-resolution logits a pixel is made of, and with which weights: torch's bilinear upscaling, twice, as tables.

Low-resolution logits go to the padded input, of which the padding is cut off, and that to the picture
(`model.upscaling.Upscaling`). Each axis has its own tables. Numbers are those of torch's CPU code, bit for bit.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.upscaling import Upscaling

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
U = np.uint64  # of indices in loops: one that might be negative is checked each time, and such a loop stays scalar


class Axis(NamedTuple):
    """One axis: L low-res rows, Y rows of the input without padding, H rows of the picture (or columns).

    low0, low1 (Y,): the two low-res rows of an input row; low_w0, low_w1 (Y,): their weights. input0, input1, input_w0,
    input_w1 (H,): the same for a row of the picture. starts (L + 1,): first row of the picture that begins at this
    low-res row or later; sizes (L,): how many begin there, a band; filled (L,): all bits set if any do,
    else none. last (L,): last low-res row that a band is made of.
    span: low-res rows a band is made of, at most. used: low-res rows that bands are made of; the rest is padding.
    band_low, band_input: the most low-res rows, and the most input rows, that the rows of one band are made of.
    """

    low0: Ints
    low1: Ints
    low_w0: Floats
    low_w1: Floats
    input0: Ints
    input1: Ints
    input_w0: Floats
    input_w1: Floats
    starts: Ints
    sizes: Ints
    filled: Bytes
    last: Ints
    span: int
    used: int
    band_low: int
    band_input: int

    def low_res_range(self, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> tuple[Ints, Ints]:
        """First low-res row that the picture's rows first..last (m,) are made of, and the one after the last.

        One more on either side: a device that rounds otherwise may begin at another row.
        """
        start, end = self.low0[self.input0[first]] - 1, self.low1[self.input1[last]] + 2
        return np.maximum(start, 0), np.minimum(end, len(self.sizes))


class Neighbours(NamedTuple):
    """Of n pixels of one axis the two that each is blended of, (n,), and their weights, (n,)."""

    first: Ints
    second: Ints
    first_weight: Floats
    second_weight: Floats


class Workspace(NamedTuple):
    """Room for one thread: what is known of the logits of a mask, and flat buffers for one band.

    low (h, w): logits of a window, rows padded to eights.
    Mostly only the beginning of the buffers is used: it stays cached. state_words: the memory of `states`, by eights.
    """

    left: Floats
    right: Floats
    input: Floats
    left2: Floats
    right2: Floats
    pixels: Floats
    low: Floats
    number: Ints
    row_keys: Ints
    column_keys: Ints
    codes: Bytes
    other: Bytes
    states: Bytes
    state_words: npt.NDArray[np.uint64]
    columns_inside: Bytes
    any_open: Bytes


class Plan(NamedTuple):
    """How one thread brings logits to the picture.

    rows, columns: tables of both axes. orders: torch's order of operations in both steps (`bilinear.SEPARABLE_FUSED`,
    ...). same: the input has the size of the picture, so that the second step changes nothing. work: room.
    """

    rows: Axis
    columns: Axis
    orders: tuple[int, int]
    same: bool
    work: Workspace


def make_axis(low: int, padded: int, shown: int, image: int, *, fused: bool) -> Axis:
    """Tables from `low` to `padded` pixels, of which the first `shown` are kept, to `image` pixels.

    fused: whether torch's code was compiled to fused multiply-adds.
    """
    low0, low1, low_w0, low_w1 = linear_weights(low, padded, fused=fused)
    low0, low1, low_w0, low_w1 = low0[:shown], low1[:shown], low_w0[:shown], low_w1[:shown]
    input0, input1, input_w0, input_w1 = linear_weights(shown, image, fused=fused)
    base, ends = low0[input0], low1[input1]
    bands = np.arange(low + 1)
    starts = np.searchsorted(base, bands).astype(np.int32)
    sizes = np.diff(starts).astype(np.int32)
    last = np.where(sizes > 0, ends[starts[1:] - 1], bands[:-1]).astype(np.int32)
    span = int((last - bands[:-1]).max()) + 1
    to_input, to_image = (low0, low1, low_w0, low_w1), (input0, input1, input_w0, input_w1)
    filled = np.where(sizes > 0, 0xFF, 0).astype(np.uint8)
    first, final = input0[starts[:-1][sizes > 0]], input1[starts[1:][sizes > 0] - 1]
    band_low, band_input = int((low1[final] - low0[first]).max()) + 1, int((final - first).max()) + 1
    used = int(ends[-1]) + 1
    return Axis(*to_input, *to_image, starts, sizes, filled, last, span, used, band_low, band_input)


@lru_cache(maxsize=64)
def upscaling_axes(upscaling: Upscaling, low_hw: tuple[int, int], *, fused: bool) -> tuple[Axis, Axis]:
    """Tables of the rows and of the columns, from (h, w) logits to the picture."""
    sizes = zip(low_hw, *upscaling.steps(low_hw), upscaling.image_hw, strict=True)
    rows, columns = (make_axis(*axis, fused=fused) for axis in sizes)
    return rows, columns


def make_workspace(rows: Axis, columns: Axis, *, low_hw: tuple[int, int]) -> Workspace:
    low_rows, input_rows = rows.band_low, rows.band_input
    shown, image_width = len(columns.low0), len(columns.input0)

    def floats(size: int) -> Floats:
        return np.empty(size, dtype=np.float32)

    height, width = low_hw
    padded_words = -(-(width + 2 * columns.span) // 8)
    state_words = np.empty((height + 2 * rows.span) * padded_words, dtype=np.uint64)
    return Workspace(
        left=floats(low_rows * shown),
        right=floats(low_rows * shown),
        input=floats(input_rows * shown),
        left2=floats(input_rows * image_width),
        right2=floats(input_rows * image_width),
        pixels=floats(int(rows.sizes.max()) * image_width),
        low=np.empty((height, -(-width // 8) * 8), dtype=np.float32),
        number=np.empty(1, dtype=np.int32),
        row_keys=np.empty(height, dtype=np.int32),
        column_keys=np.empty(width, dtype=np.int32),
        codes=np.empty(state_words.nbytes, dtype=np.uint8),
        other=np.empty(state_words.nbytes, dtype=np.uint8),
        states=state_words.view(np.uint8),
        state_words=state_words,
        columns_inside=np.empty(width, dtype=np.uint8),
        any_open=np.empty(height, dtype=np.uint8),
    )


def linear_weights(size: int, out: int, *, fused: bool) -> tuple[Ints, Ints, Floats, Floats]:
    """Both neighbours (out,) of every pixel when `size` pixels become `out`, and their weights (out,).

    In float32 with pixel centres at halves and clamped at the first; a fused multiply-add is exact in double precision.
    """
    one = np.float32(1)
    pixels = np.arange(out, dtype=np.int32)
    if size == out:
        return pixels, pixels, np.ones(out, dtype=np.float32), np.zeros(out, dtype=np.float32)
    scale, centres = np.float32(size) / np.float32(out), pixels.astype(np.float32) + np.float32(0.5)
    if fused:
        source = (centres.astype(np.float64) * np.float64(scale) - 0.5).astype(np.float32)
    else:
        source = centres * scale - np.float32(0.5)
    source = np.maximum(source, np.float32(0))
    first = np.minimum(np.floor(source).astype(np.int32), size - 1)
    second = np.minimum(first + 1, size - 1).astype(np.int32)
    weight = np.clip(source - first.astype(np.float32), np.float32(0), one)
    return first, second, one - weight, weight
