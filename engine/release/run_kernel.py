"""Compiled walks over the run lengths of masks: their hulls, and masks at another size, without a pixel being made.

Import it only where it is used: numba takes a moment. All functions are in this file: numba would not notice a change
in another. Masks are read column by column, as their runs go.
"""

from typing import Any

import numpy as np

from engine.compiled import compiled

BROKEN = -1
_FEW = 24  # pieces in a released column, of which a sorted list is quicker than a walk over its cells
EVENTS = 4 * _FEW
MOST_BYTES = 7  # of a run length in compressed counts


@compiled()
def measure(counts: Any, ends: Any, sizes: Any, lengths: Any, columns: Any, chain: Any, found: Any) -> None:
    """found: (4, N), to be filled in the order of `report.hulls.Shapes`. lengths, columns, chain: room to work in."""
    for n in range(len(ends) - 1):
        height, width = sizes[n, 0], sizes[n, 1]
        runs = _run_lengths(counts[ends[n] : ends[n + 1]], height * width, lengths)
        if runs == BROKEN:
            found[0, n] = BROKEN
            continue
        used = _columns_of(lengths, runs, height, columns)
        if not used:
            continue
        top, bottom = height, 0
        for i in range(used):
            top, bottom = min(top, columns[1, i]), max(bottom, columns[2, i])
        for i in range(1, runs, 2):
            found[0, n] += lengths[i]
        found[1, n] = _twice_hull(columns, used, chain)
        found[2, n] = columns[0, used - 1] - columns[0, 0] + 1
        found[3, n] = bottom - top + 1


@compiled()
def broken(counts: Any, ends: Any, pixels: int, lengths: Any, found: Any) -> None:
    """found: (N,), whether the counts of a mask do not fill so many pixels. counts, ends: of all masks together."""
    for n in range(len(ends) - 1):
        found[n] = _run_lengths(counts[ends[n] : ends[n + 1]], pixels, lengths) == BROKEN


@compiled()
def _run_lengths(counts: Any, pixels: int, lengths: Any) -> int:
    """Parse compressed counts into `lengths` and say how many runs there are; BROKEN where they fill no mask."""
    at, runs, position = 0, 0, 0
    while at < len(counts):
        value, shift, more = np.int64(0), 0, True
        while more:
            if at == len(counts) or shift == 35 or counts[at] < 48 or counts[at] > 111:
                return BROKEN
            group = np.int64(counts[at]) - 48
            value |= (group & 0x1F) << shift
            shift += 5
            at += 1
            more = group & 0x20 != 0
            if not more and group & 0x10:
                value -= 1 << shift
        lengths[runs] = value + (lengths[runs - 2] if runs > 2 else 0)
        position += lengths[runs]
        if lengths[runs] < 0 or position > pixels:
            return BROKEN
        runs += 1
    return runs if position == pixels else BROKEN


@compiled()
def _columns_of(lengths: Any, runs: int, height: int, columns: Any) -> int:
    """Fill (column, first row, last row) of each column that has foreground, and say how many there are."""
    used, position = 0, 0
    for run in range(runs):
        if run % 2 and lengths[run]:
            first, final = position, position + lengths[run] - 1
            for column in range(first // height, final // height + 1):
                if not used or columns[0, used - 1] != column:
                    columns[0, used], columns[1, used] = column, max(first - column * height, 0)
                    used += 1
                columns[2, used - 1] = min(final - column * height, height - 1)
        position += lengths[run]
    return used


@compiled()
def _twice_hull(columns: Any, used: int, chain: Any) -> int:
    """Twice the area between the lower and the upper chain of the hull (Andrew's monotone chain, column by column)."""
    twice = 0
    for side in range(2):
        sign = 1 - 2 * side
        size = 0
        for i in range(used):
            x, y = columns[0, i], sign * columns[1 + side, i]
            while size > 1 and _turn(chain, size, x, y) <= 0:
                size -= 1
            chain[0, size], chain[1, size] = x, y
            size += 1
        for i in range(1, size):
            twice -= (chain[0, i] - chain[0, i - 1]) * (chain[1, i] + chain[1, i - 1])
    return twice


@compiled(forceinline=True)
def _turn(chain: Any, size: int, x: int, y: int) -> int:
    """Above 0 where the chain turns from its last edge towards growing y on the way to (x, y)."""
    dx, dy = chain[0, size - 1] - chain[0, size - 2], chain[1, size - 1] - chain[1, size - 2]
    turn: int = dx * (y - chain[1, size - 2]) - dy * (x - chain[0, size - 2])
    return turn


@compiled()
def scale_all(
    counts: Any, ends: Any, size: Any, lengths: Any, pieces: Any, rows: Any, cells: Any, events: Any, scaled: Any,
    written: Any, sizes: Any, found: Any,
) -> int:  # fmt: skip
    """Masks of one picture at another size: a pixel is in one that covers at least half of what it is made of, exactly.

    counts, ends: compressed, of all masks together. size: (height, width, released height, released width), released
    at most as large. For the longest mask: lengths, room for a run a byte; pieces: (3, runs + columns); scaled: for the
    released runs. rows: (2, height + 1); cells: (2, released height + 2) zeros; events: (EVENTS,). written: for
    compressed counts, one behind the other.
    sizes: (N,), how many bytes of it are of each mask, 0 for one without a pixel, BROKEN where the counts fill none.
    found: (N, 5), area and box (XYXY) of what is released.
    Returns how many masks are done: it ends early where less is left of `written` than the next could need.
    """
    for row in range(size[0] + 1):
        rows[0, row] = row * size[2] // size[0]  # the released row that it lies in, and how much of that is below
        rows[1, row] = (rows[0, row] + 1) * size[0] - row * size[2]
    used = 0
    for n in range(len(ends) - 1):
        if len(written) - used < MOST_BYTES * len(scaled):
            return n
        mask = counts[ends[n] : ends[n + 1]]
        sizes[n] = _scale(mask, size, lengths, pieces, rows, cells, events, scaled, written[used:], found[n])
        used += max(sizes[n], 0)
    return len(ends) - 1


@compiled()
def _scale(
    counts: Any, size: Any, lengths: Any, pieces: Any, rows: Any, cells: Any, events: Any, scaled: Any, written: Any,
    found: Any,
) -> int:  # fmt: skip
    source_h, source_w, height, width = size
    runs = _run_lengths(counts, source_h * source_w, lengths)
    if runs == BROKEN:
        return BROKEN
    count = _pieces_of(lengths, runs, source_h, pieces)
    found[:] = 0
    first, used, last_begin, last_end, begin = 0, 0, 0, 0, 0
    half = source_h * source_w  # of twice what is covered, in units in which every border is whole
    for column in range(pieces[0, 0] * width // source_w if count else width, width):
        left, right = column * source_w, (column + 1) * source_w
        while first < count and (pieces[0, first] + 1) * width <= left:
            first += 1
        if first == count:
            break
        end, low, high = first, height, 0
        while end < count and pieces[0, end] * width < right:
            end += 1
        few = end - first <= _FEW
        for piece in range(first, end):
            start = pieces[0, piece] * width
            weight = min(start + width, right) - max(start, left)
            top, bottom = pieces[1, piece], pieces[2, piece]
            above, below = rows[0, top], rows[0, bottom]
            cells[0, above] += weight * rows[1, top]
            cells[0, below] += weight * (source_h - rows[1, bottom])
            cells[1, above + 1] += weight * source_h
            cells[1, below] -= weight * source_h
            low, high = min(low, above), max(high, below)
            if few:
                at = 4 * (piece - first)
                events[at], events[at + 1], events[at + 2], events[at + 3] = above, above + 1, below, below + 1
        if few:
            known = 4 * (end - first)
            _sort(events, known)
        else:
            known = high + 2 - low
        inside, covered, row = False, 0, low
        for event in range(known):
            row = events[event] if few else low + event
            whole, part = cells[1, row], cells[0, row]
            if few and event and events[event - 1] == row:
                continue
            covered += whole
            now = row < height and 2 * (covered + part) >= half
            if now != inside:
                position = column * height + min(row, height)
                if now:
                    begin = row
                    if used and position == last_end:
                        used -= 1  # goes on from the foot of the column before
                    else:
                        scaled[used], scaled[used + 1] = position - last_end, 0
                        used += 1
                    last_begin = position
                else:
                    scaled[used] += position - last_begin
                    used += 1
                    last_end = position
                    _take_in(found, column, begin, min(row, height))
                inside = now
            cells[0, row] = 0
            cells[1, row] = 0
    if not used:
        return 0
    if last_end < height * width:
        scaled[used] = height * width - last_end
        used += 1
    return _compress(scaled, used, written)


@compiled()
def _pieces_of(lengths: Any, runs: int, height: int, pieces: Any) -> int:
    """Fill (column, first row, row behind the last) of each stretch of foreground in a column; returns how many."""
    count, position, column, top = 0, 0, 0, 0  # top: where the column begins
    for run in range(runs):
        end = position + lengths[run]
        while run % 2 and position < end:
            while position >= top + height:
                column, top = column + 1, top + height
            stop = min(end, top + height)
            pieces[0, count], pieces[1, count], pieces[2, count] = column, position - top, stop - top
            count += 1
            position = stop
        position = end
    return count


@compiled()
def _sort(values: Any, count: int) -> None:
    """In place; they are few, and nearly in order."""
    for at in range(1, count):
        value, to = values[at], at
        while to and values[to - 1] > value:
            values[to] = values[to - 1]
            to -= 1
        values[to] = value


@compiled()
def _take_in(found: Any, column: int, top: int, bottom: int) -> None:
    if not found[0]:
        found[1], found[2] = column, top
    found[0] += bottom - top
    found[2], found[3], found[4] = min(found[2], top), column + 1, max(found[4], bottom)


@compiled()
def _compress(lengths: Any, runs: int, written: Any) -> int:
    """The compressed counts of run lengths; returns how many bytes they are."""
    at = 0
    for run in range(runs):
        value = lengths[run] - (lengths[run - 2] if run > 2 else 0)
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != (-1 if group & 0x10 else 0)
            written[at] = group + (0x20 if more else 0) + 48
            at += 1
    return at
