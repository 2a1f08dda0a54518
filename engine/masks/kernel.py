"""Compiled CPU loops over low-resolution logits: what bilinear upscaling would give, pixel by pixel, where it matters.

Import it only where it is used: numba takes a moment. Everything is float32, as in torch.

    logits (h, w)                 input (Y, X), padding cut off       picture (H, W)
    +---+---+---+---+             +-----------------------+           +-----------------------------+
    |   |   |   |   |  step 1     |                       |  step 2   |                             |
    +---+---+---+---+ ----------> |                       | --------> +- - - +------+- - - - - - - -+ starts[r]
    | r | c |   |   |  orders[0]  |                       | orders[1] | band | cell |               |
    +---+---+---+---+  low0..     |                       | input0..  +- - - +------+- - - - - - - -+ starts[r + 1]
    |   |   |   |   |  low_w1     |                       | input_w1  |                             |
    +---+---+---+---+             +-----------------------+           +-----------------------------+

A band r is the rows of the picture that begin at low-res row r, a cell the part of it whose columns begin at one
low-res column. All its pixels are made of the logits at rows r to r + span - 1, and likewise of columns. So:

    survey   of each mask:  _peak -> _find_part -> _classify -> _decide -> _find_box -> _pack
             the largest magnitude, the part of the logits that matters, what is certain of each of them, of each cell,
             the box (pixels only of cells that are open), and what must be kept of the part
    count    of a mask that was kept:  unpack -> _classify -> _decide -> whole cells, and pixels of those that are open
    rasterise  the pixels of a box, band by band

Codes and states of a part are flat, `_stride` apart from row to row, with `span` more on every side:

    +--------------------------+
    |  rows.span, says nothing |      `part` is (first row, end, first column, end) of the logits, `origin` the row and
    |    +--------------+      |      column of the picture's logits that low[0, 0] is. `span` of pixels is (y0, y1,
    |    | the part     |      |      x0, x1), ends excluded. `plan`: a `tables.Plan`, `across` and `down`:
    |    +--------------+      |      `tables.Neighbours` of columns and of rows.
    +--------------------------+

All functions are in this file: numba would not notice a change in another.
"""

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from engine.compiled import compiled
from engine.masks.tables import Neighbours

# How torch sums four neighbours: one axis after the other, or four products; each with or without fused multiply-add.
SEPARABLE_FUSED, FOUR_FUSED, SEPARABLE, FOUR = range(4)
MARGIN = np.float32(1e-5)  # of the largest magnitude of a mask: several times what rounding can do in two steps
TINY = np.float32(1e-36)
# Of a logit, or of all in a window, what is certain, as bits: above every threshold, above none, above the middle one,
# not above the middle one. Joined by "and".
ABOVE, BELOW, INSIDE, OUTSIDE = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)
OPEN = np.uint8(0)  # nothing is certain
_EITHER = ABOVE | BELOW | INSIDE | OUTSIDE  # beyond the ends: says nothing where codes are joined
_EIGHT_TIMES = np.uint64(0x0101010101010101)
_TO_BITS = np.uint64(0x8040201008040201)  # times eight bytes of 0 or 1: their bits, the first highest, in the top byte
_INFINITY_BITS = 0x7F800000
_NO_BOX = 2**31 - 1
_LEAST_KEY = np.int32(-(2**31))
_U = np.uint64  # of indices: one that might be negative is checked each time, and such a loop stays scalar


@intrinsic
def _fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), codegen


@compiled(forceinline=True)
def blend(out, left, right, base, across, down, order):  # type: ignore[no-untyped-def]
    """Bilinear interpolation of r rows of n pixels.

    out (r * n,), left and right (any number of rows * n,): flat. left, right: the neighbours of each column, weighted
    by those of `across` (n,). down (r,): the neighbours among the rows of left and right, counted from `base`.
    """
    w0, w1 = across.first_weight, across.second_weight
    tops, feet, h0, h1 = down
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
def _across_low(low, first, last, base, across, order, out):  # type: ignore[no-untyped-def]
    """Rows first..last of low (h, w) blended to n columns, whose neighbours count from `base`: out, rows of n."""
    first_columns, second_columns, w0, w1 = across
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
def _across_input(source, stride, n_rows, across, order, out):  # type: ignore[no-untyped-def]
    """The same for n_rows flat rows of the input, `stride` apart, that begin at the first of the columns."""
    first_columns, second_columns, w0, w1 = across
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
def _down(rows, n, base, down, order, out):  # type: ignore[no-untyped-def]
    """out, flat rows of n: the neighbours `down` (r,) among `rows`, counted from `base`."""
    tops, feet, h0, h1 = down
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
def _spread_low(low, first, last, base, across, left, right):  # type: ignore[no-untyped-def]
    """Rows first..last of low (h, w), spread to both neighbours of n columns, whose numbers count from `base`."""
    first_columns, second_columns = across.first, across.second
    n = _U(len(first_columns))
    for row in range(first, last + 1):
        to = _U(row - first) * n
        for i in range(n):
            left[to + i] = low[row, _U(first_columns[i] - base)]
            right[to + i] = low[row, _U(second_columns[i] - base)]


@compiled(forceinline=True)
def _spread_input(source, stride, n_rows, across, left, right):  # type: ignore[no-untyped-def]
    """The same for n_rows flat rows of the input, `stride` apart, that begin at the first of the columns."""
    first_columns, second_columns = across.first, across.second
    n, base = _U(len(first_columns)), first_columns[0]
    for row in range(n_rows):
        start, to = _U(row * stride), _U(row) * n
        for i in range(n):
            left[to + i] = source[start + _U(first_columns[i] - base)]
            right[to + i] = source[start + _U(second_columns[i] - base)]


@compiled(forceinline=True)
def _pixels(low, origin, span, plan, same):  # type: ignore[no-untyped-def]
    """Upscaled logits of a span of the picture, flat: left in work.pixels, or in work.input if `same`.

    low: logits from `origin` on. The rows lie in one band. same: plan.same; a constant makes the loops tighter.
    """
    rows, columns, work = plan.rows, plan.columns, plan.work
    y0, y1, x0, x1 = span
    first_y, end_y = rows.input0[y0], rows.input1[y1 - 1] + 1
    first_x, end_x = columns.input0[x0], columns.input1[x1 - 1] + 1
    base, last = rows.low0[first_y], rows.low1[end_y - 1]
    of_y, of_x = slice(first_y, end_y), slice(first_x, end_x)
    down = Neighbours(rows.low0[of_y], rows.low1[of_y], rows.low_w0[of_y], rows.low_w1[of_y])
    across = Neighbours(columns.low0[of_x], columns.low1[of_x], columns.low_w0[of_x], columns.low_w1[of_x])
    first, end, n, order = base - origin[0], last - origin[0], end_x - first_x, plan.orders[0]
    if order in (SEPARABLE_FUSED, SEPARABLE):
        _across_low(low, first, end, origin[1], across, order, work.left)
        _down(work.left, n, base, down, order, work.input)
    else:
        _spread_low(low, first, end, origin[1], across, work.left, work.right)
        blend(work.input, work.left, work.right, base, across, down, order)
    if same:
        return
    of_y, of_x = slice(y0, y1), slice(x0, x1)
    down = Neighbours(rows.input0[of_y], rows.input1[of_y], rows.input_w0[of_y], rows.input_w1[of_y])
    across = Neighbours(columns.input0[of_x], columns.input1[of_x], columns.input_w0[of_x], columns.input_w1[of_x])
    order = plan.orders[1]
    if order in (SEPARABLE_FUSED, SEPARABLE):
        _across_input(work.input, n, end_y - first_y, across, order, work.left2)
        _down(work.left2, x1 - x0, first_y, down, order, work.pixels)
    else:
        _spread_input(work.input, n, end_y - first_y, across, work.left2, work.right2)
        blend(work.pixels, work.left2, work.right2, first_y, across, down, order)


@compiled(forceinline=True)
def _rasterise(low, origin, box, threshold, plan, same, out):  # type: ignore[no-untyped-def]
    rows, work = plan.rows, plan.work
    pixels = work.input if same else work.pixels
    x0, y0, x1, y1 = box[0], box[1], box[2] + 1, box[3] + 1
    start, band = y0, rows.low0[rows.input0[y0]]
    while start < y1:
        end = min(y1, rows.starts[band + 1])
        band += 1
        if start == end:
            continue
        _pixels(low, origin, (start, end, x0, x1), plan, same)
        for y in range(start, end):
            offset = (y - start) * (x1 - x0)
            for i in range(x1 - x0):
                out[y - y0, i] = pixels[offset + i] > threshold
        start = end


@compiled()
def rasterise(low, origin, box, threshold, plan, out):  # type: ignore[no-untyped-def]
    """out (box height, box width) bool: pixels of the box (XYXY inclusive) above the threshold."""
    if plan.same:
        _rasterise(low, origin, box, threshold, plan, True, out)
    else:
        _rasterise(low, origin, box, threshold, plan, False, out)


@compiled(forceinline=True)
def _key(bits):  # type: ignore[no-untyped-def]
    """The bits of a float32 as an int32 of the same order."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@compiled(forceinline=True)
def _peak(bits, part, work):  # type: ignore[no-untyped-def]
    """The largest magnitude in a part of a mask, as bits; also left in work.number.

    bits: its logits as int32. Left in work.row_keys and work.column_keys: the largest logit of each, as a key.
    """
    top, foot, left, right = _U(part[0]), _U(part[1]), _U(part[2]), _U(part[3])
    peak = np.int32(0)
    work.column_keys[left:right] = _LEAST_KEY
    for row in range(top, foot):
        largest = np.int32(_LEAST_KEY)
        for i in range(left, right):
            x = bits[row, i]
            peak = max(peak, x & np.int32(0x7FFFFFFF))
            key = _key(x)
            largest = max(largest, key)
            work.column_keys[i] = max(work.column_keys[i], key)
        work.row_keys[row] = largest
    work.number[0] = peak
    return peak


@compiled(forceinline=True)
def _margin(work):  # type: ignore[no-untyped-def]
    return work.number.view(np.float32)[0] * MARGIN + TINY


@compiled(forceinline=True)
def _find_part(maybe, plan, part):  # type: ignore[no-untyped-def]
    """part: rows and columns whose logits matter, (first, end, first, end): those above `maybe`, and as many around.

    What a pixel is made of lies within the span; zeros where there is none. The rest of the picture is below `maybe`.
    """
    rows, columns, work = plan.rows, plan.columns, plan.work
    work.number.view(np.float32)[0] = maybe
    key = _key(work.number[0])
    top, foot, left, right = rows.used, 0, columns.used, 0
    for row in range(rows.used):
        if work.row_keys[row] > key:
            top, foot = min(top, row), row + 1
    for column in range(columns.used):
        if work.column_keys[column] > key:
            left, right = min(left, column), column + 1
    part[:] = 0
    if foot and right:
        part[0], part[1] = max(top - rows.span, 0), min(foot + rows.span, rows.used)
        part[2], part[3] = max(left - columns.span, 0), min(right + columns.span, columns.used)
    return foot and right


@compiled(forceinline=True)
def _stride(part, columns):  # type: ignore[no-untyped-def]
    """Of flat rows with codes of a part and of what lies beside it, a multiple of eight."""
    return (_U(part[3] - part[2] + 2 * columns.span) + _U(7)) & ~_U(7)


@compiled(forceinline=True)
def _classify(low, origin, part, thresholds, margin, plan):  # type: ignore[no-untyped-def]
    """work.codes, flat: of the logits in a part, with as many more on every side as the span. low: from origin on."""
    rows, columns, codes = plan.rows, plan.columns, plan.work.codes
    lowest, middle, highest = thresholds
    above, below, inside, outside = highest + margin, lowest - margin, middle + margin, middle - margin
    top, foot, n = part[0] - origin[0], part[1] - origin[0], _U(part[3] - part[2])
    left, beside, stride = _U(part[2] - origin[1]), _U(columns.span), _stride(part, columns)
    first = _U(rows.span) * stride
    last = first + _U(foot - top) * stride
    for i in range(first):
        codes[i] = codes[last + i] = _EITHER
    for row in range(top, foot):
        start = first + _U(row - top) * stride
        for i in range(beside):
            codes[start + i] = _EITHER
        for i in range(start + beside + n, start + stride):
            codes[i] = _EITHER
        for i in range(n):
            x = low[row, left + i]
            code = np.uint8(x > above) * ABOVE | np.uint8(x <= below) * BELOW
            codes[start + beside + i] = code | np.uint8(x > inside) * INSIDE | np.uint8(x <= outside) * OUTSIDE


@compiled(forceinline=True)
def _join(codes, other, size, step, count):  # type: ignore[no-untyped-def]
    """Each of `size` codes joined with those that are 1 to `count` - 1 steps after it.

    Two buffers in turn: in place the loop would stay scalar. Returns the one with the result, and the other.
    """
    joined = _U(1)
    while joined < count:
        shift = min(joined, count - joined) * step
        for i in range(size - shift):
            other[i] = codes[i] & codes[i + shift]
        codes, other = other, codes
        joined += min(joined, count - joined)
    return codes, other


@compiled(forceinline=True)
def _decide(part, asked, plan):  # type: ignore[no-untyped-def]
    """work.states: what is certain of all logits that a cell is made of, of the bits that are asked for.

    From work.codes, and as flat as they are. Returns a buffer with codes that are joined to the right, as far as the
    span, and one that is free.
    """
    rows, columns, work = plan.rows, plan.columns, plan.work
    stride = _stride(part, columns)
    size = _U(part[1] - part[0] + 2 * rows.span) * stride
    codes, other = _join(work.codes, work.other, size, _U(1), _U(columns.span))
    for band in range(part[0], part[1]):
        start = _U(band - part[0] + rows.span) * stride
        for i in range(start, start + stride):
            work.states[i] = codes[i] & asked
        for step in range(1, rows.last[band] + 1 - band):
            below = start + _U(step) * stride
            for i in range(stride):
                work.states[start + i] &= codes[below + i]
    return codes, other


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


@compiled()
def unpack(kept, low):  # type: ignore[no-untyped-def]
    """low: logits (h', w') of a window, see `windows.Window`; what is beyond its width is filled as well."""
    above, near, values, peak = kept.above, kept.near, kept.values, kept.peak
    n_values = _U(0)
    for row in range(above.shape[0]):
        for byte in range(above.shape[1]):
            sides, by_value, start = above[row, byte], near[row, byte], _U(byte) << _U(3)
            for bit in range(8):
                low[row, start + _U(bit)] = peak if sides >> np.uint8(7 - bit) & np.uint8(1) else -peak
            if by_value:
                for bit in range(8):
                    if by_value >> np.uint8(7 - bit) & np.uint8(1):
                        low[row, start + _U(bit)] = values[n_values]
                        n_values += _U(1)


@compiled()
def count(kept, thresholds, plan, counts):  # type: ignore[no-untyped-def]
    """Add to counts (3,) the pixels of a mask that are above each of the thresholds, lowest first.

    kept: a `windows.Kept`.
    """
    rows, columns, work, part = plan.rows, plan.columns, plan.work, kept.part
    low, origin = work.low, (part[0], part[2])
    unpack(kept, low)
    _classify(low, origin, part, thresholds, kept.peak * MARGIN + TINY, plan)
    _decide(part, ABOVE | BELOW, plan)
    stride, left, n = _stride(part, columns), _U(part[2]), _U(part[3] - part[2])
    pixels = work.input if plan.same else work.pixels
    for band in range(part[0], part[1]):
        if rows.sizes[band] == 0:
            continue
        start, end = rows.starts[band], rows.starts[band + 1]
        begin = _U(band - part[0] + rows.span) * stride + _U(columns.span)
        cell = begin
        while cell < begin + n:
            state, x0 = work.states[cell], columns.starts[left + cell - begin]
            cell = _end_of_run(work.states, work.state_words, cell, begin + n)
            x1 = columns.starts[left + cell - begin]
            if state == BELOW or x0 == x1:
                continue
            size = (end - start) * (x1 - x0)
            if state == OPEN:
                _pixels(low, origin, (start, end, x0, x1), plan, plan.same)
                _count(pixels, size, thresholds, counts)
            else:
                for level in range(3):
                    counts[level] += size


@compiled(forceinline=True)
def _box_of_decided(part, plan, box):  # type: ignore[no-untyped-def]
    """Box of the cells that are above the middle threshold; work.any_open: bands with cells of which that is open."""
    rows, columns, work = plan.rows, plan.columns, plan.work
    stride, left, n = _stride(part, columns), _U(part[2]), _U(part[3] - part[2])
    for i in range(n):
        work.columns_inside[i] = 0
    for band in range(part[0], part[1]):
        begin = _U(band - part[0] + rows.span) * stride + _U(columns.span)
        work.any_open[band] = 0
        if rows.sizes[band] == 0:
            continue
        found, any_open = np.uint8(0), np.uint8(0)
        for i in range(n):
            state = work.states[begin + i]
            inside = state & INSIDE & columns.filled[left + i]
            found |= inside
            any_open |= np.uint8(state == OPEN)
            work.columns_inside[i] |= inside
        work.any_open[band] = any_open
        if found:
            box[1], box[3] = min(box[1], rows.starts[band]), rows.starts[band + 1] - 1
    for i in range(n):
        if work.columns_inside[i]:
            box[0], box[2] = min(box[0], columns.starts[left + i]), columns.starts[left + i + _U(1)] - 1


@compiled(forceinline=True)
def _extend_by_open(low, part, band, cells, threshold, plan, box):  # type: ignore[no-untyped-def]
    """Make the box hold the pixels above the threshold of the open ones of some cells of a band."""
    rows, columns, work = plan.rows, plan.columns, plan.work
    if cells[0] >= cells[1]:
        return
    begin = _U(band - part[0] + rows.span) * _stride(part, columns) + _U(columns.span - part[2] + cells[0])
    cell, stop = begin, begin + _U(cells[1] - cells[0])
    while cell < stop:
        state, x0 = work.states[cell], columns.starts[_U(cells[0]) + cell - begin]
        cell = _end_of_run(work.states, work.state_words, cell, stop)
        x1 = columns.starts[_U(cells[0]) + cell - begin]
        if state == OPEN and x0 < x1:
            span = (rows.starts[band], rows.starts[band + 1], x0, x1)
            _pixels(low, (0, 0), span, plan, plan.same)
            _extend(work.input if plan.same else work.pixels, span, threshold, box)


@compiled(forceinline=True)
def _find_box(low, part, threshold, plan, box):  # type: ignore[no-untyped-def]
    """The box of the pixels above the threshold, XYXY inclusive; box[2] < 0 where there is none."""
    rows, columns, work = plan.rows, plan.columns, plan.work
    box[0], box[1], box[2], box[3] = _NO_BOX, _NO_BOX, -1, -1
    _box_of_decided(part, plan, box)
    for band in range(part[0], part[1]):
        if not work.any_open[band]:
            continue
        if rows.starts[band] < box[1] or rows.starts[band + 1] - 1 > box[3]:
            cells = (part[2], part[3])
            _extend_by_open(low, part, band, cells, threshold, plan, box)
            continue
        # In a band that the box holds, only what lies beside it can be new.
        before = (part[2], min(part[3], columns.low0[columns.input0[box[0]]] + 1))
        behind = (max(part[2], columns.low0[columns.input0[box[2]]]), part[3])
        _extend_by_open(low, part, band, before, threshold, plan, box)
        _extend_by_open(low, part, band, behind, threshold, plan, box)


@compiled(forceinline=True)
def _sides(codes, start, n, sides):  # type: ignore[no-untyped-def]
    """sides (n,): 1 where all around are above, 0 where none is, 2 where that is not sure; codes from `start` on."""
    for i in range(n):
        code = codes[start + i]
        near = np.uint8(code & (ABOVE | BELOW) == OPEN)
        sides[i] = (code & ABOVE) | (near << np.uint8(1))
    for i in range(n, (n + _U(7)) & ~_U(7)):
        sides[i] = np.uint8(0)


@compiled(forceinline=True)
def _pack(low, part, joined, slack, index, plan, out):  # type: ignore[no-untyped-def]
    """Append what is left of the part of a mask to out, a `windows.Packed`; index: of the mask there.

    joined: from `_decide`. slack: 0, or 1 where a device that rounds otherwise may begin a cell at another logit.
    """
    rows, columns, ends = plan.rows, plan.columns, out.ends[index]
    stride, left, n = _stride(part, columns), _U(part[2]), _U(part[3] - part[2])
    size = _U(part[1] - part[0] + 2 * rows.span) * stride
    # All logits of all cells that a logit is part of: span - 1 on every side; to the right the span is joined already.
    codes, other = _join(joined[0], joined[1], size, _U(1), _U(columns.span + 2 * slack))
    codes, other = _join(codes, other, size, stride, _U(2 * rows.span - 1 + 2 * slack))
    first = _U(1 - slack) * (stride + _U(1))
    n_bytes, n_values = _U(ends[0]), _U(ends[1])
    for row in range(part[0], part[1]):
        _sides(codes, first + _U(row - part[0]) * stride, n, out.sides)
        for word in range((n + _U(7)) >> _U(3)):
            eight = out.words[word]
            out.above[n_bytes] = (eight & _EIGHT_TIMES) * _TO_BITS >> _U(56)
            near = (eight >> _U(1) & _EIGHT_TIMES) * _TO_BITS >> _U(56)
            out.near[n_bytes] = near
            n_bytes += _U(1)
            if near:
                for i in range(word << _U(3), min(n, (word + _U(1)) << _U(3))):
                    out.values[n_values] = low[row, left + i]
                    n_values += _U(out.sides[i] >> np.uint8(1))
    ends[0], ends[1] = n_bytes, n_values


@compiled(forceinline=True)
def _begin(ends, index):  # type: ignore[no-untyped-def]
    """ends (n, 2): a mask ends where the one before it ends, until something is appended."""
    for which in range(2):
        ends[index, which] = ends[index - 1, which] if index else 0


@compiled()
def survey(logits, bits, thresholds, plan, out, boxes, parts):  # type: ignore[no-untyped-def]
    """Where n masks lie, and what must be kept of each to count or to rasterise it later.

    logits (n, h, w), and the same memory as int32. boxes (n, 4): above the middle threshold, zeros for none. parts
    (n, 4): first row, the one after the last, first column, the one after the last of what is kept. out:
    `windows.Packed`. Returns the index of the first mask that is not finite, or n.
    """
    lowest, middle, _ = thresholds
    work = plan.work
    everything = (0, logits.shape[1], 0, logits.shape[2])
    for index in range(len(logits)):
        low, box, part = logits[index], boxes[index], parts[index]
        peak = _peak(bits[index], everything, work)
        if peak >= _INFINITY_BITS:
            return index
        out.peaks[index] = peak
        margin = _margin(work)
        box[:] = 0
        _begin(out.ends, index)
        if not _find_part(lowest - margin, plan, part):
            continue
        _classify(low, (0, 0), part, thresholds, margin, plan)
        joined = _decide(part, _EITHER, plan)
        _find_box(low, part, middle, plan, box)
        if box[2] < 0:
            box[:] = 0
            part[:] = 0
            continue
        _pack(low, part, joined, 0, index, plan, out)
    return len(logits)


@compiled()
def pack(logits, bits, threshold, plan, out, parts):  # type: ignore[no-untyped-def]
    """What must be kept of parts (n, 4) of n masks to rasterise them: see `survey`."""
    work = plan.work
    for index in range(len(logits)):
        low, part = logits[index], parts[index]
        out.peaks[index] = _peak(bits[index], part, work)
        margin = _margin(work)
        _begin(out.ends, index)
        _classify(low, (0, 0), part, (threshold, threshold, threshold), margin, plan)
        joined = _decide(part, _EITHER, plan)
        _pack(low, part, joined, 1, index, plan, out)
