"""Metrics of rounds: typed here, on disk the JSON that was always there."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from schemas.round_metrics import Guard, RoundMetrics, Score

# Every key of a round of semi_automatic, in the order that the table has them in.
WRITTEN = (
    '{"annotator_s": 8.9, "annotators": ["simulated"], "by_annotator": {"simulated": {"clicks_per_mask": 1.0, "masks": '
    '2, "over_limit": 0, "seconds_per_mask": 4.5}}, "calibration": {"multiple": {"intercept": -0.25, "slope": 1.5}, '
    '"single": {"intercept": 0.0, "slope": 1.0}}, "clicks_per_mask": 1.0, "drawn": 0, "generation": {'
    '"difference_to_exact": [{"extra": 0, "lost": 1}], "dropped": {"empty": 0, "stability": 7}, "images": 1, '
    '"images_per_s": 0.4567, "masks": 2, "seconds": {"encode": 1.26}}, "guard": {"accepted": false, "reason": '
    '"worse"}, "images": 1, "iou_error_after": 0.1, "iou_error_before": 0.2, "left_out": {"too_large": 0, '
    '"too_small": 3}, '
    '"masks": 2, "masks_per_image": 2.0, "measured_images": 2, "measured_masks": 6, "measured_on": "holdout", '
    '"miou_after": 0.5, "miou_before": 0.25, "miou_change": [0.1, 0.4], "old_miou_3_after": 0.75, "over_limit": 0, '
    '"prefill": {"images": 2, "iou": 0.85, "masks": 0, "measured_on": "training_fifth", "objects": 6, "precision": '
    'null, "recall": 0.0, "right": 0, "stated_precision": 0.8, "threshold": 2.0}, "prefilled": 2, '
    '"prefilled_deleted_frac": 0.0, "prefilled_edited_frac": 0.5, "prefilled_kept_frac": 0.5, "quality": {'
    '"verification": {"answers": 2, "verifier": null}}, "seconds_per_mask": 4.5, "share": 0.35, "trained_images": 1, '
    '"trained_masks": 2}'
)


def test_what_was_written_is_read_and_written_again_byte_for_byte() -> None:
    metrics = RoundMetrics.from_json(WRITTEN)
    assert metrics.to_json() == WRITTEN
    assert metrics.updated({}) == metrics
    assert metrics.guard == Guard(accepted=False, reason="worse")
    assert not metrics.accepted
    assert metrics.score("miou") == Score(before=0.25, after=0.5, change=(0.1, 0.4))
    assert metrics.score("old_miou_3").after == 0.75
    assert metrics.generation is not None
    assert metrics.generation.dropped["stability"] == 7
    assert metrics.prefill is not None
    assert not metrics.prefill.reached
    assert metrics.by_annotator is not None
    assert metrics.by_annotator["simulated"].masks == 2


@given(st.sets(st.sampled_from(sorted(json.loads(WRITTEN)))))
def test_what_is_missing_stays_missing(names: set[str]) -> None:
    values = json.loads(WRITTEN)
    text = json.dumps({name: values[name] for name in names}, sort_keys=True)
    assert RoundMetrics.from_json(text).to_json() == text


@pytest.mark.parametrize(
    "values",
    [
        {"boxes": 1, "their_change": "much", "prefill": None},  # of a plugin
        {"guard": {"accepted": True, "reason": "", "weeks": [1]}, "generation": {"pages": 3}},
    ],
)
def test_what_this_version_does_not_know_is_kept(values: dict[str, Any]) -> None:
    text = json.dumps(values, sort_keys=True)
    assert RoundMetrics.from_json(text).to_json() == text
    assert json.loads(RoundMetrics.from_json(text).updated({"masks": 3}).to_json()) == values | {"masks": 3}


def test_nothing_is_known_of_a_round_at_first() -> None:
    metrics = RoundMetrics()
    assert metrics.to_json() == "{}"
    assert (metrics.masks, metrics.guard, metrics.scores) == (None, None, {})
    assert metrics.accepted
    assert metrics.score("miou") == Score()


def test_a_value_of_another_kind_is_an_error_of_one_line() -> None:
    with pytest.raises(InputError, match=r"^metrics of a round: guard\.accepted: .*, not 'perhaps'$"):
        RoundMetrics.from_dict({"guard": {"accepted": "perhaps"}})
