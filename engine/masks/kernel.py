"""Compiled CPU loops over low-resolution logits: what bilinear upscaling would give, pixel by pixel, where it matters.

Import it only where it is used: numba takes a moment. Shapes: (h, w) low-resolution logits; (Y, X) the padded input
without its padding; (H, W) the picture. A band is the rows of the picture that begin at one low-res row, a cell the
part of it whose columns begin at one low-res column. Everything is float32, as in torch. `rows` and `columns` are
`tables.Axis`, `work` is a `tables.Workspace`. All in one file: numba would not notice a change in another.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])
# How torch sums four neighbours: one axis after the other, or four products; each with or without fused multiply-add.
SEPARABLE_FUSED, FOUR_FUSED, SEPARABLE, FOUR = range(4)
MARGIN = np.float32(1e-5)  # of the largest magnitude of a mask: several times what rounding can do in two steps
TINY = np.float32(1e-36)
OUTSIDE, INSIDE, OPEN = np.uint8(0), np.uint8(1), np.uint8(2)  # what is known of a cell
_INFINITY_BITS = 0x7F800000
_NO_BOX = 2**31 - 1
_U = np.uint64  # of indices: one that might be negative is checked each time, and such a loop stays scalar


def _compiled(**options: Any) -> Callable[[Function], Function]:
    """numba.njit, kept on disk where a folder can be written: the second process starts fast."""

    def decorate(function: Function) -> Function:
        try:
            compiled: Function = numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:  # no folder for the cache can be written
            compiled = numba.njit(nogil=True, **options)(function)
        return compiled

    return decorate


@intrinsic
def _fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), codegen


@_compiled()
def blend(out, left, right, tops, feet, base, w0, w1, h0, h1, order):  # type: ignore[no-untyped-def]
    """Bilinear interpolation of r rows of n pixels.

    out (r * n,), left and right (any number of rows * n,): flat. left, right: the neighbours of each column, weighted
    by w0 and w1 (n,). tops, feet (r,): rows of left and right, counted from `base`, weighted by h0 and h1 (r,).
    """
    n = _U(len(w0))
    for row in range(len(tops)):
        top, foot, to = _U(tops[row] - base) * n, _U(feet[row] - base) * n, _U(row) * n
        y0, y1 = h0[row], h1[row]
        if order == SEPARABLE_FUSED:
            for i in range(n):
                upper = _fma(left[top + i], w0[i], right[top + i] * w1[i])
                lower = _fma(left[foot + i], w0[i], right[foot + i] * w1[i])
                out[to + i] = _fma(upper, y0, lower * y1)
        elif order == FOUR_FUSED:
            for i in range(n):
                total = _fma(y0 * w0[i], left[top + i], (y0 * w1[i]) * right[top + i])
                total = _fma(y1 * w0[i], left[foot + i], total)
                out[to + i] = _fma(y1 * w1[i], right[foot + i], total)
        elif order == SEPARABLE:
            for i in range(n):
                upper = left[top + i] * w0[i] + right[top + i] * w1[i]
                lower = left[foot + i] * w0[i] + right[foot + i] * w1[i]
                out[to + i] = upper * y0 + lower * y1
        else:
            for i in range(n):
                total = (y0 * w0[i]) * left[top + i] + (y0 * w1[i]) * right[top + i]
                out[to + i] = (total + (y1 * w0[i]) * left[foot + i]) + (y1 * w1[i]) * right[foot + i]


@_compiled(forceinline=True)
def _spread_low(low, first, last, base, first_columns, second_columns, left, right):  # type: ignore[no-untyped-def]
    """Rows first..last of low (h, w), spread to both neighbours of n columns, whose numbers count from `base`."""
    n = _U(len(first_columns))
    for row in range(first, last + 1):
        to = _U(row - first) * n
        for i in range(n):
            left[to + i] = low[row, _U(first_columns[i] - base)]
            right[to + i] = low[row, _U(second_columns[i] - base)]


@_compiled(forceinline=True)
def _spread_input(source, stride, n_rows, first_columns, second_columns, left, right):  # type: ignore[no-untyped-def]
    """The same for n_rows flat rows of the input, `stride` apart, that begin at the first of the columns."""
    n, base = _U(len(first_columns)), first_columns[0]
    for row in range(n_rows):
        start, to = _U(row * stride), _U(row) * n
        for i in range(n):
            left[to + i] = source[start + _U(first_columns[i] - base)]
            right[to + i] = source[start + _U(second_columns[i] - base)]


@_compiled(forceinline=True)
def _pixels(low, low_y0, low_x0, rows, columns, span, orders, same, work):  # type: ignore[no-untyped-def]
    """Upscaled logits of rows span[0]..span[1] and columns span[2]..span[3] (exclusive) of the picture, flat.

    low: logits from low-res row low_y0, column low_x0 on. The rows lie in one band. same: the picture is the input.
    """
    y0, y1, x0, x1 = span
    first_y, end_y, first_x, end_x = (
        rows.input0[y0],
        rows.input1[y1 - 1] + 1,
        columns.input0[x0],
        columns.input1[x1 - 1] + 1,
    )
    base = rows.low0[first_y]
    last = rows.low1[end_y - 1]
    _spread_low(
        low,
        base - low_y0,
        last - low_y0,
        low_x0,
        columns.low0[first_x:end_x],
        columns.low1[first_x:end_x],
        work.left,
        work.right,
    )
    blend(
        work.input,
        work.left,
        work.right,
        rows.low0[first_y:end_y],
        rows.low1[first_y:end_y],
        base,
        columns.low_w0[first_x:end_x],
        columns.low_w1[first_x:end_x],
        rows.low_w0[first_y:end_y],
        rows.low_w1[first_y:end_y],
        orders[0],
    )
    if same:
        return work.input
    _spread_input(
        work.input,
        end_x - first_x,
        end_y - first_y,
        columns.input0[x0:x1],
        columns.input1[x0:x1],
        work.left2,
        work.right2,
    )
    blend(
        work.pixels,
        work.left2,
        work.right2,
        rows.input0[y0:y1],
        rows.input1[y0:y1],
        first_y,
        columns.input_w0[x0:x1],
        columns.input_w1[x0:x1],
        rows.input_w0[y0:y1],
        rows.input_w1[y0:y1],
        orders[1],
    )
    return work.pixels


@_compiled()
def rasterise(low, low_y0, low_x0, rows, columns, box, threshold, orders, work, out):  # type: ignore[no-untyped-def]
    """out (box height, box width) bool: pixels of the box (XYXY inclusive) above the threshold."""
    x0, y0, x1, y1 = box[0], box[1], box[2] + 1, box[3] + 1
    start, band = y0, rows.low0[rows.input0[y0]]
    while start < y1:
        end = min(y1, rows.starts[band + 1])
        band += 1
        if start == end:
            continue
        pixels = _pixels(low, low_y0, low_x0, rows, columns, (start, end, x0, x1), orders, False, work)
        for y in range(start, end):
            offset = (y - start) * (x1 - x0)
            for i in range(x1 - x0):
                out[y - y0, i] = pixels[offset + i] > threshold
        start = end


@_compiled()
def _survey(bits, low, lowest, first, last):  # type: ignore[no-untyped-def]
    """Largest magnitude as bits, and in first, last (h,) where each row's logits above `lowest` begin and end.

    In a row without any the first column lies behind the last. `lowest` less the margin, which the magnitude gives.
    """
    peak = np.int32(0)
    height, width = low.shape
    for row in range(height):
        for i in range(width):
            peak = max(peak, bits[row, i] & np.int32(0x7FFFFFFF))
    if peak >= _INFINITY_BITS:
        return peak
    magnitude = np.empty(1, np.int32)
    magnitude[0] = peak
    bound = lowest - (magnitude.view(np.float32)[0] * MARGIN + TINY)
    for row in range(height):
        above = 0
        for i in range(width):
            above |= low[row, i] > bound
        first[row], last[row] = width, -1
        if above:
            i = 0
            while not low[row, i] > bound:
                i += 1
            first[row] = i
            i = width - 1
            while not low[row, i] > bound:
                i -= 1
            last[row] = i
    return peak


@_compiled(forceinline=True)
def _window_bounds(low, top, foot, begin, end, span, least, largest, row_least, row_largest):  # type: ignore[no-untyped-def]
    """Least and largest of rows top..foot and of `span` columns, from each column of begin..end (exclusive) on."""
    width = low.shape[1]
    start, stop, end = _U(begin), _U(min(width, end + span - 1)), _U(end)
    for i in range(start, stop):
        row_least[i] = low[top, i]
        row_largest[i] = low[top, i]
    for row in range(top + 1, foot + 1):
        for i in range(start, stop):
            value = low[row, i]
            row_least[i] = value if value < row_least[i] else row_least[i]
            row_largest[i] = value if value > row_largest[i] else row_largest[i]
    for i in range(stop, end + _U(span - 1)):
        row_least[i] = row_least[stop - _U(1)]
        row_largest[i] = row_largest[stop - _U(1)]
    for i in range(start, end):
        least[i] = row_least[i]
        largest[i] = row_largest[i]
    for step in range(1, span):
        for i in range(start, end):
            low_value, high_value = row_least[i + _U(step)], row_largest[i + _U(step)]
            least[i] = low_value if low_value < least[i] else least[i]
            largest[i] = high_value if high_value > largest[i] else largest[i]


@_compiled(forceinline=True)
def _decide(least, largest, sizes, begin, end, thresholds, margin, states, sums):  # type: ignore[no-untyped-def]
    """states: of cells begin..end (exclusive): OUTSIDE or INSIDE the mask for sure, or OPEN: they have to be computed.

    sums: columns of the picture surely above each of the thresholds in the cells that are not open, and the number of
    cells that are.
    """
    sure = (thresholds[0] + margin, thresholds[1] + margin, thresholds[2] + margin)
    maybe = (thresholds[0] - margin, thresholds[1] - margin, thresholds[2] - margin)
    for cell in range(_U(begin), _U(end)):
        low, high = least[cell], largest[cell]
        in_lowest, in_middle, in_highest = low > sure[0], low > sure[1], low > sure[2]
        unsure = (in_lowest ^ (high > maybe[0])) | (in_middle ^ (high > maybe[1])) | (in_highest ^ (high > maybe[2]))
        levels = np.uint8(in_lowest) + np.uint8(in_middle) + np.uint8(in_highest)
        states[cell] = np.uint8(8) if unsure else np.uint8(levels)
    n_lowest = n_middle = n_highest = n_open = 0
    for cell in range(_U(begin), _U(end)):
        levels, size = states[cell], sizes[cell]
        n_lowest += size if (levels >= 1) & (levels < 8) else 0
        n_middle += size if (levels >= 2) & (levels < 8) else 0
        n_highest += size if levels == 3 else 0
        n_open += levels == 8
        states[cell] = OPEN if levels == 8 else (INSIDE if levels >= 2 else OUTSIDE)
    sums[0], sums[1], sums[2], sums[3] = n_lowest, n_middle, n_highest, n_open


@_compiled(forceinline=True)
def _count(pixels, size, thresholds, counts):  # type: ignore[no-untyped-def]
    lowest, middle, highest = thresholds
    in_lowest = in_middle = in_highest = 0
    for i in range(_U(size)):
        in_lowest += pixels[i] > lowest
        in_middle += pixels[i] > middle
        in_highest += pixels[i] > highest
    counts[0] += in_lowest
    counts[1] += in_middle
    counts[2] += in_highest
    return in_middle


@_compiled(forceinline=True)
def _extend(pixels, span, threshold, box):  # type: ignore[no-untyped-def]
    """Make the box hold the pixels above the threshold of the flat patch `span`; only what lies outside is read."""
    y0, y1, x0, x1 = span
    n = x1 - x0
    for y in range(y0, y1):
        if y >= box[1] and y <= box[3] and x0 >= box[0] and x1 - 1 <= box[2]:
            continue
        for x in range(x0, x1):
            if pixels[(y - y0) * n + x - x0] > threshold:
                box[0], box[1] = min(box[0], x), min(box[1], y)
                box[2], box[3] = max(box[2], x), max(box[3], y)


@_compiled(forceinline=True)
def _count_band(low, rows, columns, band, cells, thresholds, orders, same, work, counts, box):  # type: ignore[no-untyped-def]
    """Pixels of the cells of a band that have to be computed, run by run, and the box of those that need not."""
    start, end = rows.starts[band], rows.starts[band + 1]
    cell = cells[0]
    while cell < cells[1]:
        state, x0 = work.states[cell], columns.starts[cell]
        while cell < cells[1] and work.states[cell] == state:
            cell += 1
        x1 = columns.starts[cell]
        if state == OUTSIDE or x0 == x1:
            continue
        if state == INSIDE:
            box[0], box[1] = min(box[0], x0), min(box[1], start)
            box[2], box[3] = max(box[2], x1 - 1), max(box[3], end - 1)
        else:
            span = (start, end, x0, x1)
            pixels = _pixels(low, 0, 0, rows, columns, span, orders, same, work)
            if _count(pixels, (end - start) * (x1 - x0), thresholds, counts):
                _extend(pixels, span, thresholds[1], box)


@_compiled()
def measure(logits, bits, rows, columns, thresholds, orders, same, work, counts, boxes):  # type: ignore[no-untyped-def]
    """counts (n, 3): pixels above each of the thresholds, lowest first; boxes (n, 4) of the middle one.

    logits (n, h, w), and the same memory as int32. Returns the index of the first mask that is not finite, or n.
    """
    magnitude, sums = np.empty(1, np.int32), np.zeros(4, np.int64)
    for index in range(len(logits)):
        low, box = logits[index], boxes[index]
        magnitude[0] = _survey(bits[index], low, thresholds[0], work.first, work.last)
        if magnitude[0] >= _INFINITY_BITS:
            return index
        margin = magnitude.view(np.float32)[0] * MARGIN + TINY
        box[0], box[1], box[2], box[3] = _NO_BOX, _NO_BOX, -1, -1
        for band in range(len(rows.sizes)):
            first, last = work.first[band], work.last[band]
            for row in range(band + 1, rows.last[band] + 1):
                first, last = min(first, work.first[row]), max(last, work.last[row])
            cells = (max(0, first - columns.span + 1), min(len(columns.sizes), last + 1))
            if rows.sizes[band] == 0 or cells[0] >= cells[1]:
                continue
            bounds = (work.least, work.largest)
            _window_bounds(low, band, rows.last[band], *cells, columns.span, *bounds, work.row_least, work.row_largest)
            _decide(*bounds, columns.sizes, *cells, thresholds, margin, work.states, sums)
            for i in range(3):
                counts[index, i] += sums[i] * rows.sizes[band]
            if sums[1] > 0 or sums[3] > 0:
                _count_band(low, rows, columns, band, cells, thresholds, orders, same, work, counts[index], box)
        if box[2] < 0:
            box[:] = 0
    return len(logits)
