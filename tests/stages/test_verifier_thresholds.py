"""From which score on a verifier is sure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.quality.gate_summary import wilson_share
from stages.sure_threshold import SureFrom
from stages.verifier_thresholds import VerifierThresholds, choose_thresholds


def test_by_hand() -> None:
    """30 good masks above 30 bad ones: 15 right of 15 have a Wilson bound of .901 at 80 %, 14 of 14 one of .895."""
    assert wilson_share(15, 15, level=0.8).low == pytest.approx(0.901, abs=1e-3)
    scores = np.linspace(1, 0, 60)
    found = choose_thresholds(scores, np.arange(60) < 30, precision=0.9)
    # 30 of 30 have a bound of 1 / (1 + 1.642 / 30) = .948, 30 of 31 one of .944 - .046 = .898.
    assert (found.good.masks, found.good.right) == (30, 30)
    assert (found.bad.masks, found.bad.right) == (30, 30)
    assert found.good.threshold == scores[29]
    assert found.answer(float(scores[10])) == "good"
    assert found.answer(float(scores[50])) == "bad"


def test_few_right_answers_are_not_sure() -> None:
    # 14 of 14: .895; 14 of 15: .891 - .089 = .801.
    scores, good = np.linspace(1, 0, 28), np.arange(28) < 14
    assert choose_thresholds(scores, good, precision=0.9).good == SureFrom(None, 0, 0)
    assert choose_thresholds(scores, good, precision=0.8).good.masks == 15


def test_between_the_thresholds_nothing_is_answered() -> None:
    thresholds = VerifierThresholds(SureFrom(0.8, 40, 40), SureFrom(0.9, 40, 40))
    assert [thresholds.answer(score) for score in (0.8, 0.79, 0.11, 0.1, 0.0)] == ["good", None, None, "bad", "bad"]
    overlapping = VerifierThresholds(SureFrom(0.2, 40, 40), SureFrom(0.1, 40, 40))
    assert [overlapping.answer(score) for score in (0.5, 0.49)] == ["good", "bad"]
    nowhere = VerifierThresholds(SureFrom(None, 0, 0), SureFrom(None, 0, 0))
    assert [nowhere.answer(score) for score in (0.0, 1.0)] == [None, None]


def test_to_call_all_masks_good_is_not_enough() -> None:
    """98 of 100 are good and the scores know nothing: a precision of .9 is reached by all, and finds no bad mask."""
    good = np.arange(100) % 50 != 0
    assert choose_thresholds(np.full(100, 0.98), good, precision=0.9).good.threshold is None


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=120), st.sampled_from([0.6, 0.8, 0.9]))
def test_what_is_sure_has_the_precision_and_no_lower_score_has(
    answers: list[tuple[int, bool]], precision: float
) -> None:
    scores, good = np.array([score / 20 for score, _ in answers]), np.array([one for _, one in answers], dtype=bool)
    found = choose_thresholds(scores, good, precision=precision).good
    needed = max(precision, (1 + good.mean()) / 2) if len(good) else precision

    def enough(threshold: float) -> bool:
        which = scores >= threshold
        return bool(wilson_share(int(good[which].sum()), int(which.sum()), level=0.8).low >= needed)

    fitting = [threshold for threshold in np.unique(scores) if enough(threshold)]
    assert found.threshold == (min(fitting) if fitting else None)
    if found.threshold is not None:
        which = scores >= found.threshold
        assert (found.masks, found.right) == (which.sum(), good[which].sum())
        assert found.right / found.masks >= precision


def test_scores_of_any_kind_are_answered_as_they_were_counted() -> None:
    """float32 scores and answers of 0 and 1: what was sure when the threshold was chosen is sure when it is asked."""
    scores = np.linspace(0.9, 0.1, 80).astype(np.float32)
    good = (np.arange(80) < 40).astype(int)
    found = choose_thresholds(scores, good, precision=0.9)
    assert found.good.masks == found.bad.masks == 41, "40 right of 41 have a bound of .922"
    given = [found.answer(float(score)) for score in scores]
    assert given == ["good"] * 40 + ["bad"] * 40
    assert found == choose_thresholds(scores.tolist(), [bool(one) for one in good], precision=0.9)
    assert found.to_dict()["bad"] == {"threshold": found.bad.threshold, "masks": 41, "right": 40}
    assert choose_thresholds([], [], precision=0.9) == VerifierThresholds(SureFrom(None, 0, 0), SureFrom(None, 0, 0))
