"""What is certain of logits, and of the cells that they make: above every threshold, above none, or open.

Codes and states of a part are flat, `stride_of` apart from row to row, with `span` more on every side:

    +--------------------------+
    |  rows.span, says nothing |
    |    +--------------+      |
    |    | the part     |      |
    |    +--------------+      |
    +--------------------------+
"""

import numpy as np

from engine.compiled import compiled
from engine.masks.kernel.tables import U

MARGIN = np.float32(1e-5)  # of the largest magnitude of a mask: several times what rounding can do in two steps
TINY = np.float32(1e-36)
# Of a logit, or of all in a window, what is certain, as bits: above every threshold, above none, above the middle one,
# not above the middle one. Joined by "and".
ABOVE, BELOW, INSIDE, OUTSIDE = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)
OPEN = np.uint8(0)  # nothing is certain
EITHER = ABOVE | BELOW | INSIDE | OUTSIDE  # beyond the ends: says nothing where codes are joined
EIGHT_TIMES = np.uint64(0x0101010101010101)
_LEAST_KEY = np.int32(-(2**31))


@compiled(with_folder=True, forceinline=True)
def _key(bits):  # type: ignore[no-untyped-def]
    """The bits of a float32 as an int32 of the same order."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@compiled(with_folder=True, forceinline=True)
def find_peak(bits, part, work):  # type: ignore[no-untyped-def]
    """The largest magnitude in a part of a mask, as bits; also left in work.number.

    bits: its logits as int32. Left in work.row_keys and work.column_keys: the largest logit of each, as a key.
    """
    top, foot, left, right = U(part[0]), U(part[1]), U(part[2]), U(part[3])
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


@compiled(with_folder=True, forceinline=True)
def margin_of(work):  # type: ignore[no-untyped-def]
    return work.number.view(np.float32)[0] * MARGIN + TINY


@compiled(with_folder=True, forceinline=True)
def find_part(maybe, plan, part):  # type: ignore[no-untyped-def]
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


@compiled(with_folder=True, forceinline=True)
def stride_of(part, columns):  # type: ignore[no-untyped-def]
    """Of flat rows with codes of a part and of what lies beside it, a multiple of eight."""
    return (U(part[3] - part[2] + 2 * columns.span) + U(7)) & ~U(7)


@compiled(with_folder=True, forceinline=True)
def classify(low, origin, part, thresholds, margin, plan):  # type: ignore[no-untyped-def]
    """work.codes, flat: of the logits in a part, with as many more on every side as the span. low: from origin on."""
    rows, columns, codes = plan.rows, plan.columns, plan.work.codes
    lowest, middle, highest = thresholds
    above, below, inside, outside = highest + margin, lowest - margin, middle + margin, middle - margin
    top, foot, n = part[0] - origin[0], part[1] - origin[0], U(part[3] - part[2])
    left, beside, stride = U(part[2] - origin[1]), U(columns.span), stride_of(part, columns)
    first = U(rows.span) * stride
    last = first + U(foot - top) * stride
    for i in range(first):
        codes[i] = codes[last + i] = EITHER
    for row in range(top, foot):
        start = first + U(row - top) * stride
        for i in range(beside):
            codes[start + i] = EITHER
        for i in range(start + beside + n, start + stride):
            codes[i] = EITHER
        for i in range(n):
            x = low[row, left + i]
            code = np.uint8(x > above) * ABOVE | np.uint8(x <= below) * BELOW
            codes[start + beside + i] = code | np.uint8(x > inside) * INSIDE | np.uint8(x <= outside) * OUTSIDE


@compiled(with_folder=True, forceinline=True)
def join(codes, other, size, step, count):  # type: ignore[no-untyped-def]
    """Each of `size` codes joined with those that are 1 to `count` - 1 steps after it.

    Two buffers in turn: in place the loop would stay scalar. Returns the one with the result, and the other.
    """
    joined = U(1)
    while joined < count:
        shift = min(joined, count - joined) * step
        for i in range(size - shift):
            other[i] = codes[i] & codes[i + shift]
        codes, other = other, codes
        joined += min(joined, count - joined)
    return codes, other


@compiled(with_folder=True, forceinline=True)
def decide(part, asked, plan):  # type: ignore[no-untyped-def]
    """work.states: what is certain of all logits that a cell is made of, of the bits that are asked for.

    From work.codes, and as flat as they are. Returns a buffer with codes that are joined to the right, as far as the
    span, and one that is free.
    """
    rows, columns, work = plan.rows, plan.columns, plan.work
    stride = stride_of(part, columns)
    size = U(part[1] - part[0] + 2 * rows.span) * stride
    codes, other = join(work.codes, work.other, size, U(1), U(columns.span))
    for band in range(part[0], part[1]):
        start = U(band - part[0] + rows.span) * stride
        for i in range(start, start + stride):
            work.states[i] = codes[i] & asked
        for step in range(1, rows.last[band] + 1 - band):
            below = start + U(step) * stride
            for i in range(stride):
                work.states[start + i] &= codes[below + i]
    return codes, other


@compiled(with_folder=True, forceinline=True)
def end_of_run(states, words, cell, stop):  # type: ignore[no-untyped-def]
    """The first cell after `cell` and before `stop` whose state is another, else `stop`; words: states by eights."""
    state, one, eight = states[cell], U(1), U(8)
    word = U(state) * EIGHT_TIMES
    while cell < stop and cell & U(7) and states[cell] == state:
        cell += one
    if not cell & U(7):
        while cell + eight <= stop and words[cell >> U(3)] == word:
            cell += eight
    while cell < stop and states[cell] == state:
        cell += one
    return cell
