"""From which score on a stated precision is sure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.quality.gate_summary import wilson_share
from stages.sure_threshold import SureFrom, sure_from


@pytest.mark.parametrize(("precision", "fewest"), [(0.5, 2), (0.8, 7), (0.9, 15), (0.95, 32)])
def test_without_a_single_wrong_mask_some_are_needed_all_the_same(precision: float, fewest: int) -> None:
    """The bound of N of N is 1 / (1 + 1.642 / N) at 80 %."""
    scores = np.linspace(1, 0.5, fewest)
    assert sure_from(scores, [True] * fewest, precision=precision) == SureFrom(0.5, fewest, fewest)
    assert sure_from(scores[1:], [True] * (fewest - 1), precision=precision) == SureFrom(None, 0, 0)


def test_by_hand() -> None:
    """43 of 50 have a bound of .786, 44 of 50 one of .809."""
    scores = np.linspace(1, 0, 50)
    assert sure_from(scores, np.arange(50) < 44, precision=0.8) == SureFrom(0.0, 50, 44)
    below = sure_from(scores, np.arange(50) < 43, precision=0.8)
    # 43 of 49 have one of .805.
    assert (below.masks, below.right, below.threshold) == (49, 43, scores[48])


def test_the_order_of_the_masks_does_not_matter() -> None:
    scores, right = np.linspace(1, 0, 50), np.arange(50) < 40
    order = np.random.default_rng(0).permutation(50)
    assert sure_from(scores[order], right[order], precision=0.8) == sure_from(scores, right, precision=0.8)


def test_masks_of_equal_score_pass_together() -> None:
    scores, right = [0.9] * 10 + [0.4] * 10, [True] * 15 + [False] * 5
    assert sure_from(scores, right, precision=0.8) == SureFrom(0.9, 10, 10)
    assert sure_from([0.9] * 20, right, precision=0.8) == SureFrom(None, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=60), st.floats(0.01, 0.99))
def test_it_is_the_lowest_score_of_which_the_bound_has_the_precision(
    masks: list[tuple[int, bool]], precision: float
) -> None:
    scores, right = np.array([score / 8 for score, _ in masks]), np.array([hit for _, hit in masks], dtype=bool)

    def enough(threshold: float) -> bool:
        which = scores >= threshold
        return wilson_share(int(right[which].sum()), int(which.sum()), level=0.8).low >= precision

    fitting = [threshold for threshold in np.unique(scores) if enough(threshold)]
    found = sure_from(scores, right, precision=precision)
    assert found.threshold == (min(fitting) if fitting else None)
    above = scores >= min(fitting, default=2.0)
    assert (found.masks, found.right) == (above.sum(), right[above].sum())


@pytest.mark.parametrize("measured", [20, 60, 200])
def test_the_precision_holds_for_masks_that_it_was_not_chosen_on(measured: int) -> None:
    """A mask of score s is right with probability s, so above t the precision is (1 + t) / 2: in 400 draws of the
    masks that are measured, it falls short of the stated one in a tenth or so, not in half of them."""
    rng = np.random.default_rng(0)
    short = 0
    for _ in range(400):
        scores = rng.random(measured)
        found = sure_from(scores, rng.random(measured) < scores, precision=0.8)
        short += found.threshold is not None and (1 + found.threshold) / 2 < 0.8
    assert short / 400 < 0.15
