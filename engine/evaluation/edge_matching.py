"""Which pixels of two edge maps belong together, one to one, as the benchmark of BSDS500 matches them."""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from engine.evaluation.assignment import FAR, assign

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
MAX_DISTANCE_FRAC = 0.0075  # of the picture's diagonal
_COSTS_A_PX = 100  # costs are whole numbers
_TIE_STEPS, _TIES = 4096, 64  # in a cost, and how many of them chance adds, so that no tie is broken by order
_ALONE = 100  # a pixel that stays alone costs as much as so many of the longest distances


def match_edges(
    first: Mask, second: Mask, *, distance_frac: float = MAX_DISTANCE_FRAC, seed: int = 0
) -> tuple[Mask, Mask]:
    """The pixels of two edge maps (H, W) that have a partner in the other one, at most `distance_frac` diagonals away.

    Each has at most one. Of all ways to pair them this is the cheapest: a pair costs its distance, a pixel without a
    partner a hundred times the longest distance, so that there are as many pairs as possible. Where two lines lie as
    far from a third, many ways cost the same; `seed` chooses among them by chance, as the benchmark's own code does.
    """
    if np.count_nonzero(first) > np.count_nonzero(second):
        return match_edges(second, first, distance_frac=distance_frac, seed=seed)[::-1]
    longest_px = distance_frac * math.hypot(*first.shape)
    of_rows, of_columns = np.flatnonzero(first), np.flatnonzero(second)
    starts, columns, costs = _pairs(first, second, longest_px)
    costs = costs * _TIE_STEPS + np.random.default_rng(seed).integers(_TIES, size=len(costs))
    alone_cost = math.ceil(_ALONE * longest_px * _COSTS_A_PX) * _TIE_STEPS
    row_of, column_of = _assigned(starts, columns, costs, len(of_columns), alone_cost)
    paired = np.zeros_like(first), np.zeros_like(second)
    for found, pixels, partner in zip(paired, (of_rows, of_columns), (column_of, row_of), strict=True):
        found.flat[pixels[partner >= 0]] = True
    return paired


def _pairs(first: Mask, second: Mask, longest_px: float) -> tuple[Ints, Ints, Ints]:
    """The R pixels of one map with those of the other near them: starts (R + 1,), columns (E,) and costs (E,)."""
    down, across, costs = _disc(longest_px)
    margin = math.ceil(longest_px)
    number = np.full(np.add(second.shape, 2 * margin), -1, dtype=np.int64)
    inside = number[margin : margin + second.shape[0], margin : margin + second.shape[1]]
    inside[second] = np.arange(np.count_nonzero(second))
    rows, columns = np.nonzero(first)
    near = number[rows[:, None] + down + margin, columns[:, None] + across + margin]
    there = near >= 0
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    return starts, near[there], np.broadcast_to(costs, near.shape)[there]


@lru_cache(maxsize=8)
def _disc(radius_px: float) -> tuple[Ints, Ints, Ints]:
    """Offsets (K,) down and across to all pixels at most so far away, nearest first, and what a pair costs there."""
    reach = math.ceil(radius_px)
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    squared = down**2 + across**2
    order = np.argsort(squared, kind="stable")
    order = order[squared[order] <= radius_px**2]
    return down[order], across[order], np.rint(np.sqrt(squared[order]) * _COSTS_A_PX).astype(np.int64)


def _assigned(starts: Ints, columns: Ints, costs: Ints, n_columns: int, alone_cost: int) -> tuple[Ints, Ints]:
    """(C,) the row of each column and (R,) the column of each row; -1 for none."""
    row_of, column_of = np.full(n_columns, -1, dtype=np.int64), np.full(len(starts) - 1, -1, dtype=np.int64)
    pair_cost, reached_by, reach_cost, seen = np.zeros((4, n_columns), dtype=np.int64)
    price, distance = np.zeros(n_columns, dtype=np.int64), np.full(n_columns, FAR)
    heap = np.zeros(len(columns) + 1, dtype=np.int64)
    assign(
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
    )
    return row_of, column_of
