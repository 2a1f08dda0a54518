"""Compiled CPU loop that says of which logits of a mask its pixels depend on the value, and of which on the side only.

Import it only where it is used: numba takes a moment. Shapes: (h, w) low-resolution logits, (h', w') a part of them.
"""

import numpy as np

from engine.masks.kernel import compiled

_ABOVE, _NEAR = np.uint8(1), np.uint8(2)
_SURE, _MAYBE = np.uint8(1), np.uint8(2)
_EIGHT_ABOVE = np.uint64(0x0101010101010101)
_TO_BITS = np.uint64(0x8040201008040201)  # times eight bytes of 0 or 1: their bits, the first highest, in the top byte
_U = np.uint64  # of indices: one that might be negative is checked each time, and such a loop stays scalar


@compiled()
def pack(logits, bits, places, parts, threshold, rounding, radius, room):  # type: ignore[no-untyped-def]
    """Bits and values that are left of parts of masks; `radius` is as in `windows`, and so is `room`, which is filled.

    logits: (n, h, w), and the same memory as int32. places, parts: for each of k masks its index, and its rows and
    columns as first, end, first, end. rounding: what it can do in upscaling, as a share of the largest magnitude and as
    a number.
    Leaves one mask after the other in room.above and room.near bits of its rows, padded to whole bytes, and in
    room.values the logits that are near. room.ends (k, 2): where its bits and its values end; room.peaks (k,): its
    largest magnitude, as bits.
    """
    n_bytes = n_values = _U(0)
    for k in range(len(places)):
        low, top, foot, left = logits[places[k]], parts[k, 0], parts[k, 1], _U(parts[k, 2])
        n, reach = _U(parts[k, 3]) - left, _U(radius[1])
        peak = np.int32(0)
        for row in range(top, foot):
            for i in range(n):
                peak = max(peak, bits[places[k], row, left + i] & np.int32(0x7FFFFFFF))
        room.peaks[k] = peak
        margin = room.peaks[k : k + 1].view(np.float32)[0] * rounding[0] + rounding[1]
        _classify(low, top, foot, left, n, threshold + margin, threshold - margin, room.codes)
        n_words = (n + _U(7)) >> _U(3)
        for row in range(top, foot):
            first, end = max(top, row - radius[0]) - top, min(foot, row + radius[0] + 1) - top
            _sides(room.codes, first, end, n, reach, room.every, room.some, room.sides)
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
def _classify(low, top, foot, left, n, sure, maybe, codes):  # type: ignore[no-untyped-def]
    for row in range(top, foot):
        for i in range(n):
            x = low[row, left + i]
            codes[row - top, i] = np.uint8(x > sure) | (np.uint8(x > maybe) << np.uint8(1))


@compiled(forceinline=True)
def _sides(codes, first, end, n, reach, every, some, sides):  # type: ignore[no-untyped-def]
    """sides (n,): _ABOVE or 0 where all within `reach` columns of rows first..end (exclusive) are it, else _NEAR."""
    for i in range(reach):  # beyond the ends nothing is said
        every[i] = every[reach + n + i] = _SURE | _MAYBE
        some[i] = some[reach + n + i] = np.uint8(0)
    for i in range(n):
        every[reach + i] = some[reach + i] = codes[first, i]
    for row in range(first + 1, end):
        for i in range(n):
            every[reach + i] &= codes[row, i]
            some[reach + i] |= codes[row, i]
    # From left to right, so that what is still to be read is not yet overwritten.
    for step in range(1, _U(2) * reach + _U(1)):
        for i in range(n + _U(2) * reach - _U(step)):
            every[i] &= every[i + _U(1)]
            some[i] |= some[i + _U(1)]
    for i in range(n):
        unsure = np.uint8(every[i] != some[i]) | np.uint8(some[i] == _MAYBE)
        sides[i] = (every[i] & _ABOVE & (unsure ^ np.uint8(1))) | (unsure << np.uint8(1))
    for i in range(n, (n + _U(7)) & ~_U(7)):
        sides[i] = np.uint8(0)
