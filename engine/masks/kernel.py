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
# Of a cell: thresholds it is above, lowest first, as bits. SURE: for certain; MAYBE: what rounding could make of it.
SURE, MAYBE, MIDDLE, OPEN = np.uint8(0x07), np.uint8(0x70), np.uint8(0x02), np.uint8(0x80)
_EIGHT_TIMES = np.uint64(0x0101010101010101)
_INFINITY_BITS = 0x7F800000
_NO_BOX = 2**31 - 1
_U = np.uint64  # of indices: one that might be negative is checked each time, and such a loop stays scalar


def compiled(**options: Any) -> Callable[[Function], Function]:
    """numba.njit, kept on disk where a folder can be written: the second process starts fast."""

    def decorate(function: Function) -> Function:
        try:
            compiled: Function = numba.njit(cache=True, nogil=True, _nrt=False, **options)(function)
        except RuntimeError:  # no folder for the cache can be written
            compiled = numba.njit(nogil=True, _nrt=False, **options)(function)
        return compiled

    return decorate


@intrinsic
def _fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), codegen


@compiled(forceinline=True)
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


@compiled(forceinline=True)
def _across_low(low, first, last, base, first_columns, second_columns, w0, w1, order, out):  # type: ignore[no-untyped-def]
    """Rows first..last of low (h, w) blended to n columns, whose neighbours count from `base`: out, rows of n."""
    n = _U(len(w0))
    for row in range(first, last + 1):
        to = _U(row - first) * n
        for i in range(n):
            left, right = low[row, _U(first_columns[i] - base)], low[row, _U(second_columns[i] - base)]
            if order == SEPARABLE_FUSED:
                out[to + i] = _fma(left, w0[i], right * w1[i])
            else:
                out[to + i] = left * w0[i] + right * w1[i]


@compiled(forceinline=True)
def _across_input(source, stride, n_rows, first_columns, second_columns, w0, w1, order, out):  # type: ignore[no-untyped-def]
    """The same for n_rows flat rows of the input, `stride` apart, that begin at the first of the columns."""
    n, base = _U(len(w0)), first_columns[0]
    for row in range(n_rows):
        start, to = _U(row * stride), _U(row) * n
        for i in range(n):
            left, right = source[start + _U(first_columns[i] - base)], source[start + _U(second_columns[i] - base)]
            if order == SEPARABLE_FUSED:
                out[to + i] = _fma(left, w0[i], right * w1[i])
            else:
                out[to + i] = left * w0[i] + right * w1[i]


@compiled(forceinline=True)
def _down(rows, n, tops, feet, base, h0, h1, order, out):  # type: ignore[no-untyped-def]
    """out, flat rows of n: rows `tops` and `feet` (r,) of `rows`, counted from `base`, weighted by h0 and h1 (r,)."""
    n = _U(n)
    for row in range(len(tops)):
        top, foot, to = _U(tops[row] - base) * n, _U(feet[row] - base) * n, _U(row) * n
        y0, y1 = h0[row], h1[row]
        if order == SEPARABLE_FUSED:
            for i in range(n):
                out[to + i] = _fma(rows[top + i], y0, rows[foot + i] * y1)
        else:
            for i in range(n):
                out[to + i] = rows[top + i] * y0 + rows[foot + i] * y1


@compiled(forceinline=True)
def _spread_low(low, first, last, base, first_columns, second_columns, left, right):  # type: ignore[no-untyped-def]
    """Rows first..last of low (h, w), spread to both neighbours of n columns, whose numbers count from `base`."""
    n = _U(len(first_columns))
    for row in range(first, last + 1):
        to = _U(row - first) * n
        for i in range(n):
            left[to + i] = low[row, _U(first_columns[i] - base)]
            right[to + i] = low[row, _U(second_columns[i] - base)]


@compiled(forceinline=True)
def _spread_input(source, stride, n_rows, first_columns, second_columns, left, right):  # type: ignore[no-untyped-def]
    """The same for n_rows flat rows of the input, `stride` apart, that begin at the first of the columns."""
    n, base = _U(len(first_columns)), first_columns[0]
    for row in range(n_rows):
        start, to = _U(row * stride), _U(row) * n
        for i in range(n):
            left[to + i] = source[start + _U(first_columns[i] - base)]
            right[to + i] = source[start + _U(second_columns[i] - base)]


@compiled(forceinline=True)
def _pixels(low, low_y0, low_x0, rows, columns, span, orders, same, work):  # type: ignore[no-untyped-def]
    """Upscaled logits of rows span[0]..span[1] and columns span[2]..span[3] (exclusive) of the picture, flat.

    They are left in work.pixels, or in work.input if `same`.
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
    tops, feet = rows.low0[first_y:end_y], rows.low1[first_y:end_y]
    h0, h1 = rows.low_w0[first_y:end_y], rows.low_w1[first_y:end_y]
    left, right = columns.low0[first_x:end_x], columns.low1[first_x:end_x]
    w0, w1 = columns.low_w0[first_x:end_x], columns.low_w1[first_x:end_x]
    n, order = end_x - first_x, orders[0]
    if order in (SEPARABLE_FUSED, SEPARABLE):
        _across_low(low, base - low_y0, last - low_y0, low_x0, left, right, w0, w1, order, work.left)
        _down(work.left, n, tops, feet, base, h0, h1, order, work.input)
    else:
        _spread_low(low, base - low_y0, last - low_y0, low_x0, left, right, work.left, work.right)
        blend(work.input, work.left, work.right, tops, feet, base, w0, w1, h0, h1, order)
    if same:
        return
    tops, feet = rows.input0[y0:y1], rows.input1[y0:y1]
    h0, h1 = rows.input_w0[y0:y1], rows.input_w1[y0:y1]
    left, right = columns.input0[x0:x1], columns.input1[x0:x1]
    w0, w1 = columns.input_w0[x0:x1], columns.input_w1[x0:x1]
    order = orders[1]
    if order in (SEPARABLE_FUSED, SEPARABLE):
        _across_input(work.input, n, end_y - first_y, left, right, w0, w1, order, work.left2)
        _down(work.left2, x1 - x0, tops, feet, first_y, h0, h1, order, work.pixels)
    else:
        _spread_input(work.input, n, end_y - first_y, left, right, work.left2, work.right2)
        blend(work.pixels, work.left2, work.right2, tops, feet, first_y, w0, w1, h0, h1, order)


@compiled()
def rasterise(low, low_y0, low_x0, rows, columns, box, threshold, orders, work, out):  # type: ignore[no-untyped-def]
    """out (box height, box width) bool: pixels of the box (XYXY inclusive) above the threshold."""
    x0, y0, x1, y1 = box[0], box[1], box[2] + 1, box[3] + 1
    start, band = y0, rows.low0[rows.input0[y0]]
    while start < y1:
        end = min(y1, rows.starts[band + 1])
        band += 1
        if start == end:
            continue
        _pixels(low, low_y0, low_x0, rows, columns, (start, end, x0, x1), orders, False, work)
        pixels = work.pixels
        for y in range(start, end):
            offset = (y - start) * (x1 - x0)
            for i in range(x1 - x0):
                out[y - y0, i] = pixels[offset + i] > threshold
        start = end


@compiled()
def _peak(bits):  # type: ignore[no-untyped-def]
    """The largest magnitude of a mask, as bits; bits: its logits as int32."""
    peak = np.int32(0)
    for row in range(bits.shape[0]):
        for i in range(bits.shape[1]):
            peak = max(peak, bits[row, i] & np.int32(0x7FFFFFFF))
    return peak


@compiled()
def _classify(low, n_rows, thresholds, margin, codes, first, last):  # type: ignore[no-untyped-def]
    """codes (h, w): for each logit the thresholds it is surely above, as bits of SURE, and may be above, of MAYBE.

    Only the first n_rows are looked at.
    first, last (h,): columns between which a row has logits that may be above the lowest threshold; last is -1 in a row
    without any.
    """
    lowest, middle, highest = thresholds
    sure0, sure1, sure2 = lowest + margin, middle + margin, highest + margin
    maybe0, maybe1, maybe2 = lowest - margin, middle - margin, highest - margin
    width = low.shape[1]
    for row in range(n_rows):
        above = np.uint8(0)
        for i in range(width):
            x = low[row, i]
            code = np.uint8(x > sure0) | (np.uint8(x > sure1) << np.uint8(1)) | (np.uint8(x > sure2) << np.uint8(2))
            code |= np.uint8(x > maybe0) << np.uint8(4)
            code |= np.uint8(x > maybe1) << np.uint8(5)
            code |= np.uint8(x > maybe2) << np.uint8(6)
            codes[row, i] = code
            above |= code
        first[row], last[row] = width, -1
        if above:
            i = 0
            while codes[row, i] == 0:
                i += 1
            first[row] = i
            i = width - 1
            while codes[row, i] == 0:
                i -= 1
            last[row] = i


@compiled(forceinline=True)
def _decide(codes, top, foot, begin, end, span, every, some, states):  # type: ignore[no-untyped-def]
    """states: of cells begin..end (exclusive): the thresholds that they are above, as bits of SURE, or OPEN.

    A cell is made of rows top..foot and of `span` columns from its own on. It is decided where every logit is surely
    above the thresholds that any may be above.
    """
    width = _U(codes.shape[1])
    start, end = _U(begin), _U(end)
    stop = min(width, end + _U(span - 1))
    for i in range(start, stop):
        every[i] = codes[top, i]
        some[i] = codes[top, i]
    for row in range(top + 1, foot + 1):
        for i in range(start, stop):
            every[i] &= codes[row, i]
            some[i] |= codes[row, i]
    for i in range(stop, end + _U(span - 1)):
        every[i], some[i] = every[stop - _U(1)], some[stop - _U(1)]
    for i in range(start, end):
        states[i] = every[i]
    for step in range(1, span):
        for i in range(start, end):
            states[i] &= every[i + _U(step)]
    # From left to right, so that what is still to be read is not yet overwritten.
    for step in range(1, span):
        for i in range(start, end + _U(span - 1 - step)):
            some[i] |= some[i + _U(1)]
    for i in range(start, end):
        sure, maybe = states[i] & SURE, (some[i] & MAYBE) >> np.uint8(4)
        states[i] = sure if sure == maybe else OPEN


@compiled(forceinline=True)
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


@compiled(forceinline=True)
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


@compiled(forceinline=True)
def _end_of_run(states, words, cell, stop):  # type: ignore[no-untyped-def]
    """The first cell after `cell` and before `stop` whose state is another, else `stop`; words: states by eights."""
    state, one, eight = states[cell], _U(1), _U(8)
    word = _U(state) * _EIGHT_TIMES
    while cell < stop and cell & _U(7) and states[cell] == state:
        cell += one
    if not cell & _U(7):
        while cell + eight <= stop and words[cell >> _U(3)] == word:
            cell += eight
    while cell < stop and states[cell] == state:
        cell += one
    return cell


@compiled(forceinline=True)
def _count_band(low, rows, columns, band, cells, thresholds, orders, same, work, counts, box):  # type: ignore[no-untyped-def]
    """Count the pixels of a band run by run of cells, and make the box hold them; open cells have to be computed."""
    start, end = rows.starts[band], rows.starts[band + 1]
    cell, stop = _U(cells[0]), _U(cells[1])
    while cell < stop:
        state, x0 = work.states[cell], columns.starts[cell]
        cell = _end_of_run(work.states, work.state_words, cell, stop)
        x1 = columns.starts[cell]
        if state == 0 or x0 == x1:
            continue
        if state == OPEN:
            span = (start, end, x0, x1)
            _pixels(low, 0, 0, rows, columns, span, orders, same, work)
            pixels = work.input if same else work.pixels
            if _count(pixels, (end - start) * (x1 - x0), thresholds, counts):
                _extend(pixels, span, thresholds[1], box)
            continue
        size = (end - start) * (x1 - x0)
        for level in range(3):
            counts[level] += size if state >> np.uint8(level) & np.uint8(1) else 0
        if state & MIDDLE:
            box[0], box[1] = min(box[0], x0), min(box[1], start)
            box[2], box[3] = max(box[2], x1 - 1), max(box[3], end - 1)


@compiled(forceinline=True)
def _cells_of_band(rows, columns, band, first, last):  # type: ignore[no-untyped-def]
    """First cell of a band that may be above the lowest threshold, and the one after the last; none: (0, 0)."""
    left, right = first[band], last[band]
    for row in range(band + 1, rows.last[band] + 1):
        left, right = min(left, first[row]), max(right, last[row])
    cells = (max(0, left - columns.span + 1), min(len(columns.sizes), right + 1))
    return cells if rows.sizes[band] and cells[0] < cells[1] else (0, 0)


@compiled()
def measure(logits, bits, rows, columns, thresholds, orders, same, work, counts, boxes):  # type: ignore[no-untyped-def]
    """counts (n, 3): pixels above each of the thresholds, lowest first; boxes (n, 4) of the middle one.

    logits (n, h, w), and the same memory as int32. Returns the index of the first mask that is not finite, or n.
    """
    magnitude = work.magnitude
    for index in range(len(logits)):
        low, box = logits[index], boxes[index]
        magnitude[0] = _peak(bits[index])
        if magnitude[0] >= _INFINITY_BITS:
            return index
        margin = magnitude.view(np.float32)[0] * MARGIN + TINY
        _classify(low, rows.used, thresholds, margin, work.codes, work.first, work.last)
        box[0], box[1], box[2], box[3] = _NO_BOX, _NO_BOX, -1, -1
        for band in range(len(rows.sizes)):
            cells = _cells_of_band(rows, columns, band, work.first, work.last)
            if cells[0] == cells[1]:
                continue
            _decide(work.codes, band, rows.last[band], *cells, columns.span, work.every, work.some, work.states)
            _count_band(low, rows, columns, band, cells, thresholds, orders, same, work, counts[index], box)
        if box[2] < 0:
            box[:] = 0
    return len(logits)


@compiled(forceinline=True)
def _decide_bands(rows, columns, foot, work, box):  # type: ignore[no-untyped-def]
    """States of all cells, in work.grid; the box: of those that are above the middle threshold.

    Left in work.begins and work.ends: the cells of each band that may be above the lowest threshold; none where no cell
    of the band is open. foot: the last row with such logits.
    """
    columns_above = work.columns_above
    columns_above[:] = 0
    for band in range(min(foot + 1, len(rows.sizes))):
        cells = _cells_of_band(rows, columns, band, work.first, work.last)
        work.begins[band] = work.ends[band] = 0
        if cells[0] == cells[1]:
            continue
        states = work.grid[band]
        _decide(work.codes, band, rows.last[band], *cells, columns.span, work.every, work.some, states)
        found = np.uint8(0)
        for i in range(_U(cells[0]), _U(cells[1])):
            state = states[i] & columns.filled[i]
            found |= state
            columns_above[i] |= state
        if found & OPEN:
            work.begins[band], work.ends[band] = cells
        if found & MIDDLE:
            box[1], box[3] = min(box[1], rows.starts[band]), rows.starts[band + 1] - 1
    for cell in range(len(columns.sizes)):
        if columns_above[cell] & MIDDLE:
            box[0], box[2] = min(box[0], columns.starts[cell]), columns.starts[cell + 1] - 1


@compiled(forceinline=True)
def _extend_by_open(low, rows, columns, band, cells, threshold, orders, same, work, box):  # type: ignore[no-untyped-def]
    """Make the box hold the pixels above the threshold of the open ones of some cells of a band."""
    cell, stop = _U(cells[0]), _U(cells[1])
    states, words = work.grid[band], work.grid_words[band]
    while cell < stop:
        state, x0 = states[cell], columns.starts[cell]
        cell = _end_of_run(states, words, cell, stop)
        x1 = columns.starts[cell]
        if state == OPEN and x0 < x1:
            span = (rows.starts[band], rows.starts[band + 1], x0, x1)
            _pixels(low, 0, 0, rows, columns, span, orders, same, work)
            _extend(work.input if same else work.pixels, span, threshold, box)


@compiled()
def survey(logits, bits, rows, columns, thresholds, orders, same, work, boxes, parts):  # type: ignore[no-untyped-def]
    """Where masks lie: a third of the work of `measure`, which gives the same boxes.

    boxes: (n, 4). parts (n, 4): low-res rows and columns (first, end, first, end) of the logits that may be above the
    lowest threshold; zeros for none. Everything else is as in `measure`.
    """
    magnitude = work.magnitude
    for index in range(len(logits)):
        low, box, part = logits[index], boxes[index], parts[index]
        magnitude[0] = _peak(bits[index])
        if magnitude[0] >= _INFINITY_BITS:
            return index
        margin = magnitude.view(np.float32)[0] * MARGIN + TINY
        _classify(low, rows.used, thresholds, margin, work.codes, work.first, work.last)
        part[0] = part[2] = low.shape[0] + low.shape[1]
        part[1] = part[3] = 0
        for row in range(rows.used):
            if work.last[row] >= 0:
                part[0], part[1] = min(part[0], row), row + 1
                part[2], part[3] = min(part[2], work.first[row]), max(part[3], work.last[row] + 1)
        box[0], box[1], box[2], box[3] = _NO_BOX, _NO_BOX, -1, -1
        if part[1] > 0:
            _decide_bands(rows, columns, part[1] - 1, work, box)
        for band in range(min(part[1], len(rows.sizes))):
            cells = work.begins[band], work.ends[band]
            if cells[0] == cells[1]:
                continue
            if rows.starts[band] < box[1] or rows.starts[band + 1] - 1 > box[3]:
                _extend_by_open(low, rows, columns, band, cells, thresholds[1], orders, same, work, box)
                continue
            # In a band that the box holds, only what lies beside it can be new.
            left = columns.low0[columns.input0[box[0]]] + 1
            right = columns.low0[columns.input0[box[2]]]
            before, behind = (cells[0], min(cells[1], left)), (max(cells[0], right), cells[1])
            _extend_by_open(low, rows, columns, band, before, thresholds[1], orders, same, work, box)
            _extend_by_open(low, rows, columns, band, behind, thresholds[1], orders, same, work, box)
        if box[2] < 0:
            box[:] = 0
            part[:] = 0
    return len(logits)
