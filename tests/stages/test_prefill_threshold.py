"""The threshold of prefilled masks: what surely has a stated precision, and what is shown where nothing has."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.round_metrics import NOTHING_PASSES
from stages.prefill_threshold import LEAST_KEPT, choose_or_half, choose_threshold


def test_half_of_the_masks_must_be_worth_keeping_or_none_is_shown() -> None:
    def choose(*right: bool, precision: float = 0.8) -> tuple[float, float]:
        """Of four scores, 25 masks each, all of them right or wrong."""
        scores = np.repeat([0.9, 0.7, 0.5, 0.3][: len(right)], 25)
        chosen = choose_or_half(scores, np.repeat(right, 25), objects=100, images=4, precision=precision, iou=0.85)
        return chosen.threshold, chosen.stated_precision

    assert choose(True, True, True, True) == (0.3, 0.8)
    assert choose(True, True, True, False) == (0.5, 0.8)
    assert choose(False, True, True, False) == (0.5, LEAST_KEPT), "50 of 75 are surely half, 50 of 100 are not"
    assert choose(False, True, True, True) == (0.3, LEAST_KEPT)
    assert choose(False, False, True, False) == (NOTHING_PASSES, LEAST_KEPT)
    assert choose(False, False, True, True, precision=0.4) == (0.3, 0.4)


def test_threshold_by_hand() -> None:
    # Ten masks of each score. Wilson bounds, down from the best: .859 of 10 / 10, .924 of 20 / 20, .550 of 20 / 30,
    # .654 of 30 / 40, .509 of 30 / 50.
    scores, right = np.repeat([0.9, 0.3, 0.7, 0.5, 0.1], 10), np.repeat([True, True, True, False, False], 10)
    chosen = choose_threshold(scores, right, objects=60, images=2, precision=0.65)
    assert (chosen.threshold, chosen.precision, chosen.recall) == (0.3, 0.75, 0.5)
    assert (chosen.masks, chosen.right, chosen.objects, chosen.images) == (40, 30, 60, 2)
    assert choose_threshold(scores, right, objects=60, images=2, precision=0.66).threshold == 0.7
    assert choose_threshold(scores, right, objects=60, images=2, precision=0.1).threshold == 0.1
    assert "threshold 0.300: precision 0.75 at IoU 0.5, recall 0.50 on 2 held-out images" in chosen.summary()


def test_nothing_passes_where_no_threshold_is_surely_good_enough() -> None:
    for scores, right in (([0.9, 0.8], [False, True]), ([0.9], [True]), ([], [])):
        chosen = choose_threshold(scores, right, objects=3, images=1, precision=0.8)
        assert chosen.threshold == NOTHING_PASSES
        assert not chosen.reached
        assert (chosen.precision, chosen.recall, chosen.masks) == (None, 0.0, 0)
        assert "no threshold surely has precision 0.8" in chosen.summary()
        assert "nothing is prefilled" in chosen.summary()
    assert choose_threshold([], [], objects=0, images=1, precision=0.8).recall is None


@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=40),
    st.floats(0.01, 0.99),
)
def test_what_passes_has_at_least_the_stated_precision(masks: list[tuple[int, bool]], stated: float) -> None:
    scores, right = np.array([score / 8 for score, _ in masks]), np.array([hit for _, hit in masks], dtype=bool)
    chosen = choose_threshold(scores, right, objects=50, images=3, precision=stated)

    def precision(threshold: float) -> float:
        return float(right[scores >= threshold].mean())

    if chosen.reached:
        assert precision(chosen.threshold) >= stated
        assert chosen.precision == precision(chosen.threshold)
        assert chosen.masks == (scores >= chosen.threshold).sum()
        assert chosen.right == right[scores >= chosen.threshold].sum()
    else:
        assert not (scores >= chosen.threshold).any()
    json.dumps(chosen.__dict__, allow_nan=False)
