"""Compiled CPU loop that says of which logits of a mask its pixels depend on the value, and of which on the side only.

Import it only where it is used: numba takes a moment. Shapes: (h, w) low-resolution logits, (h', w') a part of them.
"""

import numpy as np

from engine.masks.kernel import compiled

_ABOVE, _BELOW = np.uint8(1), np.uint8(2)  # of a logit: it is surely above both thresholds, it is surely above none
_EITHER = np.uint8(3)  # beyond the ends: says nothing where codes are joined by "and"
_EIGHT_ABOVE = np.uint64(0x0101010101010101)
_TO_BITS = np.uint64(0x8040201008040201)  # times eight bytes of 0 or 1: their bits, the first highest, in the top byte
_U = np.uint64  # of indices: one that might be negative is checked each time, and such a loop stays scalar


@compiled()
def pack(logits, bits, places, parts, bounds, rounding, radius, room):  # type: ignore[no-untyped-def]
    """Bits and values that are left of parts of masks; `radius` is as in `windows`, and so is `room`, which is filled.

    logits: (n, h, w), and the same memory as int32. places, parts: for each of k masks its index, and its rows and
    columns as first, end, first, end. bounds: the lowest and the highest threshold. rounding: what it can do in
    upscaling, as a share of the largest magnitude and as a number.
    Leaves one mask after the other in room.above and room.near bits of its rows, padded to whole bytes, and in
    room.values the logits that are near. room.ends (k, 2): where its bits and its values end; room.peaks (k,): its
    largest magnitude, as bits.
    """
    n_bytes = n_values = _U(0)
    for k in range(len(places)):
        low, top, foot, left = logits[places[k]], parts[k, 0], parts[k, 1], _U(parts[k, 2])
        n = _U(parts[k, 3]) - left
        peak = np.int32(0)
        for row in range(top, foot):
            for i in range(n):
                peak = max(peak, bits[places[k], row, left + i] & np.int32(0x7FFFFFFF))
        room.peaks[k] = peak
        margin = room.peaks[k : k + 1].view(np.float32)[0] * rounding[0] + rounding[1]
        stride = n + _U(2) * _U(radius[1])
        _classify(low, top, foot, left, n, bounds[1] + margin, bounds[0] - margin, radius, room.codes)
        size = _U(foot - top + 2 * radius[0]) * stride
        codes, other = _join(room.codes, room.other, size, _U(1), _U(2 * radius[1] + 1))
        codes, other = _join(codes, other, size, stride, _U(2 * radius[0] + 1))
        n_words = (n + _U(7)) >> _U(3)
        for row in range(top, foot):
            _sides(codes, _U(row - top) * stride, n, room.sides)
            for word in range(n_words):
                eight = room.words[word]
                room.above[n_bytes] = (eight & _EIGHT_ABOVE) * _TO_BITS >> _U(56)
                near = (eight >> _U(1) & _EIGHT_ABOVE) * _TO_BITS >> _U(56)
                room.near[n_bytes] = near
                n_bytes += _U(1)
                if near:
                    for i in range(word << _U(3), min(n, (word + _U(1)) << _U(3))):
                        room.values[n_values] = low[row, left + i]
                        n_values += _U(room.sides[i] >> np.uint8(1))
        room.ends[k, 0], room.ends[k, 1] = n_bytes, n_values


@compiled(forceinline=True)
def _classify(low, top, foot, left, n, sure, maybe, radius, codes):  # type: ignore[no-untyped-def]
    """codes, flat rows of n logits with `radius[1]` more on either side and `radius[0]` more rows above and below."""
    beside = _U(radius[1])
    stride = n + _U(2) * beside
    first = _U(radius[0]) * stride
    last = first + _U(foot - top) * stride
    for i in range(first):
        codes[i] = codes[last + i] = _EITHER
    for row in range(top, foot):
        start = first + _U(row - top) * stride
        for i in range(beside):
            codes[start + i] = codes[start + beside + n + i] = _EITHER
        for i in range(n):
            x = low[row, left + i]
            codes[start + beside + i] = np.uint8(x > sure) | np.uint8(x <= maybe) * _BELOW


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
def _sides(codes, start, n, sides):  # type: ignore[no-untyped-def]
    """sides (n,): 1 where all around are above, 0 where none is, 2 where that is not sure; codes from `start` on."""
    for i in range(n):
        code = codes[start + i]
        near = np.uint8(code == 0)
        sides[i] = (code & _ABOVE) | (near << np.uint8(1))
    for i in range(n, (n + _U(7)) & ~_U(7)):
        sides[i] = np.uint8(0)
