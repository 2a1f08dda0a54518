"""Assignment of rows to columns at the least cost, compiled: most pairs first, of these the nearest.

Import it only where it is used: numba takes a moment. All functions are in this file: numba would not notice a change
in another.
"""

import numpy as np

from engine.compiled import compiled

FAR = np.int64(2**62)
_COLUMN_BITS = 26  # of an entry of the heap, which has the distance above them
_COLUMN = np.int64(2**_COLUMN_BITS - 1)


@compiled(forceinline=True)
def _push(heap, size, entry):  # type: ignore[no-untyped-def]
    """Put an entry into a binary heap of `size`, least first."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        if heap[parent] <= entry:
            break
        heap[child] = heap[parent]
        child = parent
    heap[child] = entry


@compiled(forceinline=True)
def _pop(heap, size):  # type: ignore[no-untyped-def]
    """Take the first entry out of a heap, which has `size` afterwards."""
    last = heap[size]
    parent, child = 0, 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if last <= heap[child]:
            break
        heap[parent] = heap[child]
        parent, child = child, 2 * child + 1
    heap[parent] = last


@compiled()
def assign(  # type: ignore[no-untyped-def]
    starts,
    columns,
    costs,
    alone_cost,
    row_of,
    column_of,
    pair_cost,
    price,
    distance,
    reached_by,
    reach_cost,
    seen,
    heap,
):
    """Find row_of (C,) and column_of (R,) int64, -1 for what stays alone, by shortest augmenting paths.

    starts (R + 1,), columns (E,), costs (E,) int64: the pairs there may be, row by row. alone_cost: of a row without a
    column; a pair is made only where that is cheaper.
    Room: row_of, column_of filled with -1; price (C,) with 0; distance (C,) with FAR; pair_cost, reached_by,
    reach_cost, seen (C,); heap (E + 1,); all int64.
    A row that stayed alone does so for good: columns only become dearer.
    """
    for first in range(len(starts) - 1):
        size, n_seen, free = 0, 0, -1
        row, spent = first, 0
        least, given_up = alone_cost, first
        while True:
            for pair in range(starts[row], starts[row + 1]):
                column = columns[pair]
                there = spent + costs[pair] - price[column]
                if there < distance[column]:
                    if distance[column] == FAR:
                        seen[n_seen] = column
                        n_seen += 1
                    distance[column] = there
                    reached_by[column] = row
                    reach_cost[column] = costs[pair]
                    _push(heap, size, (there << _COLUMN_BITS) | column)
                    size += 1
            nearest = -1
            while size > 0 and nearest < 0:
                entry = heap[0]
                size -= 1
                _pop(heap, size)
                column = entry & _COLUMN
                if entry >> _COLUMN_BITS == distance[column]:
                    nearest = column
            if nearest < 0 or distance[nearest] >= least:
                break
            if row_of[nearest] < 0:
                free, least = nearest, distance[nearest]
                break
            row = row_of[nearest]
            spent = distance[nearest] - pair_cost[nearest] + price[nearest]
            if spent + alone_cost < least:
                least, given_up = spent + alone_cost, row
        for place in range(n_seen):
            column = seen[place]
            if distance[column] < least:
                price[column] += distance[column] - least
            distance[column] = FAR
        if free < 0:
            free = column_of[given_up]
            column_of[given_up] = -1
        while free >= 0:
            row = reached_by[free]
            before = column_of[row]
            row_of[free], column_of[row], pair_cost[free] = row, free, reach_cost[free]
            free = before
