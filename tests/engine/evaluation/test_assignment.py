"""The compiled assignment beside scipy's, of which it needs the outliers spelt out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from engine.evaluation.edge_matching import _assigned


def assigned(costs: np.ndarray, alone_cost: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a matrix (R, C) of costs, negative where there is no pair."""
    there = costs >= 0
    starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int64)
    columns = np.nonzero(there)[1].astype(np.int64)
    return _assigned(starts, columns, costs[there].astype(np.int64), costs.shape[1], alone_cost)


def cost_of(costs: np.ndarray, column_of: np.ndarray, alone_cost: int) -> int:
    paired = np.flatnonzero(column_of >= 0)
    return int(costs[paired, column_of[paired]].sum()) + alone_cost * (len(column_of) - len(paired))


def cheapest(costs: np.ndarray, alone_cost: int) -> int:
    """By scipy, where each row has a column of its own to stay alone in."""
    rows = len(costs)
    alone = np.where(np.eye(rows, dtype=bool), alone_cost, 10**9)
    square = np.concatenate([np.where(costs < 0, 10**9, costs), alone], axis=1)
    return int(square[linear_sum_assignment(square)].sum())


@given(
    st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 14), st.floats(0.05, 1), st.sampled_from([8, 40, 4000])
)
@settings(max_examples=300, deadline=None)
def test_no_assignment_is_cheaper(seed: int, rows: int, columns: int, share: float, alone_cost: int) -> None:
    rng = np.random.default_rng(seed)
    costs = np.where(rng.random((rows, columns)) < share, rng.integers(0, 8, (rows, columns)), -1)
    row_of, column_of = assigned(costs, alone_cost)
    for row, column in enumerate(column_of):
        assert column < 0 or (row_of[column] == row and costs[row, column] >= 0)
    assert (row_of >= 0).sum() == (column_of >= 0).sum()
    assert cost_of(costs, column_of, alone_cost) == cheapest(costs, alone_cost)


def test_a_row_makes_room_for_another() -> None:
    row_of, column_of = assigned(np.array([[0, 5], [1, -1]]), 100)
    assert column_of.tolist() == [1, 0]
    assert row_of.tolist() == [1, 0]


def test_the_dearest_row_stays_alone() -> None:
    _, column_of = assigned(np.array([[3], [1], [2]]), 100)
    assert column_of.tolist() == [-1, 0, -1]


def test_a_pair_that_costs_more_than_staying_alone_is_not_made() -> None:
    _, column_of = assigned(np.array([[0, 9], [0, -1]]), 5)
    assert sorted(column_of.tolist()) == [-1, 0]
