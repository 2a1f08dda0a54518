"""Thinning, beside skimage's of the same algorithm."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.morphology import thin

from engine.evaluation.thinning import thinned


@given(st.integers(0, 10_000), st.floats(0.1, 0.95), st.integers(1, 24), st.integers(1, 24))
@settings(max_examples=60, deadline=None)
def test_any_map_is_thinned_as_by_skimage(seed: int, share: float, height: int, width: int) -> None:
    edges = np.random.default_rng(seed).random((height, width)) < share
    np.testing.assert_array_equal(thinned(edges), thin(edges))


def test_a_bar_becomes_its_middle_line() -> None:
    edges = np.zeros((9, 20), dtype=bool)
    edges[3:6, 2:18] = True
    lines = thinned(edges)
    assert lines[4, 5:15].all()
    assert lines.sum(axis=0).max() == 1
    np.testing.assert_array_equal(thinned(lines), lines)


def test_the_map_itself_is_left_alone() -> None:
    edges = np.ones((5, 5), dtype=bool)
    thinned(edges)
    assert edges.all()
