"""What must be kept of a mask, in bits and the few logits that are near to its border; see `windows`."""

import numpy as np

from engine.compiled import compiled
from engine.masks.kernel.certainty import ABOVE, BELOW, EIGHT_TIMES, OPEN, join, stride_of
from engine.masks.kernel.tables import U

_TO_BITS = np.uint64(0x8040201008040201)  # times eight bytes of 0 or 1: their bits, the first highest, in the top byte


@compiled(with_folder=True)
def unpack(kept, low):  # type: ignore[no-untyped-def]
    """low: logits (h', w') of a window, see `windows.Window`; what is beyond its width is filled as well."""
    above, near, values, peak = kept.above, kept.near, kept.values, kept.peak
    n_values = U(0)
    for row in range(above.shape[0]):
        for byte in range(above.shape[1]):
            sides, by_value, start = above[row, byte], near[row, byte], U(byte) << U(3)
            for bit in range(8):
                low[row, start + U(bit)] = peak if sides >> np.uint8(7 - bit) & np.uint8(1) else -peak
            if by_value:
                for bit in range(8):
                    if by_value >> np.uint8(7 - bit) & np.uint8(1):
                        low[row, start + U(bit)] = values[n_values]
                        n_values += U(1)


@compiled(with_folder=True, forceinline=True)
def _sides(codes, start, n, sides):  # type: ignore[no-untyped-def]
    """sides (n,): 1 where all around are above, 0 where none is, 2 where that is not sure; codes from `start` on."""
    for i in range(n):
        code = codes[start + i]
        near = np.uint8(code & (ABOVE | BELOW) == OPEN)
        sides[i] = (code & ABOVE) | (near << np.uint8(1))
    for i in range(n, (n + U(7)) & ~U(7)):
        sides[i] = np.uint8(0)


@compiled(with_folder=True, forceinline=True)
def pack_part(low, part, joined, slack, index, plan, out):  # type: ignore[no-untyped-def]
    """Append what is left of the part of a mask to out, a `windows.Packed`; index: of the mask there.

    joined: from `decide`. slack: 0, or 1 where a device that rounds otherwise may begin a cell at another logit.
    """
    rows, columns, ends = plan.rows, plan.columns, out.ends[index]
    stride, left, n = stride_of(part, columns), U(part[2]), U(part[3] - part[2])
    size = U(part[1] - part[0] + 2 * rows.span) * stride
    # All logits of all cells that a logit is part of: span - 1 on every side; to the right the span is joined already.
    codes, other = join(joined[0], joined[1], size, U(1), U(columns.span + 2 * slack))
    codes, other = join(codes, other, size, stride, U(2 * rows.span - 1 + 2 * slack))
    first = U(1 - slack) * (stride + U(1))
    n_bytes, n_values = U(ends[0]), U(ends[1])
    for row in range(part[0], part[1]):
        _sides(codes, first + U(row - part[0]) * stride, n, out.sides)
        for word in range((n + U(7)) >> U(3)):
            eight = out.words[word]
            out.above[n_bytes] = (eight & EIGHT_TIMES) * _TO_BITS >> U(56)
            near = (eight >> U(1) & EIGHT_TIMES) * _TO_BITS >> U(56)
            out.near[n_bytes] = near
            n_bytes += U(1)
            if near:
                for i in range(word << U(3), min(n, (word + U(1)) << U(3))):
                    out.values[n_values] = low[row, left + i]
                    n_values += U(out.sides[i] >> np.uint8(1))
    ends[0], ends[1] = n_bytes, n_values
