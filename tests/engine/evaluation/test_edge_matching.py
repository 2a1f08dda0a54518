"""Partners of edge pixels: by hand, and beside scipy's assignment of the same pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from engine.evaluation.edge_matching import match_edges

FRAC = 2.1 / math.hypot(12, 16)  # a little over two pixels


def points(*places: tuple[int, int]) -> np.ndarray:
    """(12, 16) with edges at (row, column)."""
    edges = np.zeros((12, 16), dtype=bool)
    for place in places:
        edges[place] = True
    return edges


def counts(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    of_first, of_second = match_edges(first, second, distance_frac=FRAC)
    assert not (of_first & ~first).any()
    assert not (of_second & ~second).any()
    return int(of_first.sum()), int(of_second.sum())


def test_a_partner_is_at_most_so_far_away() -> None:
    assert counts(points((5, 5)), points((5, 7))) == (1, 1)
    assert counts(points((5, 5)), points((6, 7))) == (0, 0), "the square root of five"
    assert counts(points((5, 5)), points((5, 8))) == (0, 0)
    assert counts(points(), points((5, 5))) == (0, 0)
    assert counts(points((0, 0)), points()) == (0, 0)


def test_each_pixel_has_one_partner_and_the_nearest_get_them() -> None:
    three = points((5, 4), (5, 5), (5, 6))
    assert counts(three, points((5, 5))) == (1, 1)
    of_first, _ = match_edges(three, points((5, 6)), distance_frac=FRAC)
    assert of_first[5, 6]
    assert counts(three, points((4, 4), (4, 5), (4, 6))) == (3, 3)


def test_as_many_pairs_as_possible_even_if_they_are_farther_apart() -> None:
    """The pixel that both could take goes to the one that has no other."""
    assert counts(points((5, 5), (5, 7)), points((5, 5), (5, 3))) == (2, 2)


def test_pixels_at_the_edge_of_the_picture_do_not_reach_around_it() -> None:
    assert counts(points((0, 0)), points((0, 15), (11, 0))) == (0, 0)


@given(st.integers(0, 10**6), st.floats(0.02, 0.5), st.floats(0.02, 0.5), st.sampled_from([1.1, 2.1, 2.3, 4.3]))
@settings(max_examples=60, deadline=None)
def test_no_pairing_is_cheaper(seed: int, some: float, others: float, longest_px: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((9, 11)) < some, rng.random((9, 11)) < others
    of_first, of_second = match_edges(first, second, distance_frac=longest_px / math.hypot(9, 11))
    assert of_first.sum() == of_second.sum()
    assert _cost(first, second, longest_px) == pytest.approx(_cost(of_first, of_second, longest_px), abs=1e-6)
    assert _pairs(first, second, longest_px) == of_first.sum()


def _distances(first: np.ndarray, second: np.ndarray, longest_px: float) -> np.ndarray:
    """(N, M), as rounded for the assignment; a thousand where there is no pair."""
    apart = np.linalg.norm(np.argwhere(first)[:, None] - np.argwhere(second)[None], axis=2)
    return np.where(apart <= longest_px + 1e-9, np.rint(100 * apart) / 100, 1000.0)


def _cost(first: np.ndarray, second: np.ndarray, longest_px: float) -> float:
    """The least sum of distances of as many pairs as possible."""
    distances = _distances(first, second, longest_px)
    chosen = distances[linear_sum_assignment(distances)]
    return float(chosen[chosen < 1000].sum())


def _pairs(first: np.ndarray, second: np.ndarray, longest_px: float) -> int:
    distances = _distances(first, second, longest_px)
    return int((distances[linear_sum_assignment(distances)] < 1000).sum())


def test_of_two_lines_as_near_either_is_taken_pixel_by_pixel() -> None:
    """Two people who drew the same line confirm more of both lines than one does, as in the benchmark."""
    first, second = np.zeros((20, 80), dtype=bool), np.zeros((20, 80), dtype=bool)
    first[[8, 12]], second[10] = True, True
    taken = [match_edges(first, second, distance_frac=2.1 / math.hypot(20, 80), seed=seed)[0] for seed in (0, 1, 0)]
    assert taken[0].sum() == 80
    assert 20 < taken[0][8].sum() < 60
    assert (taken[0] != taken[1]).any()
    np.testing.assert_array_equal(taken[0], taken[2])


def test_large_pictures_have_large_costs() -> None:
    """The distance that is allowed grows with the picture: 30 px at 4,000 x 24."""
    first, second = np.zeros((24, 4000), dtype=bool), np.zeros((24, 4000), dtype=bool)
    first[2, ::3], second[20, ::4] = True, True
    of_first, of_second = match_edges(first, second)
    assert of_second.sum() == second.sum() == of_first.sum()
