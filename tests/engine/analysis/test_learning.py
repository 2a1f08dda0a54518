"""The table of what retrainings taught."""

from dataclasses import dataclass

from engine.analysis.learning import LEARNING_NOTE, learning_lines
from schemas.round_metrics import RoundMetrics


@dataclass
class _Round:
    stage: str
    round: int
    learned: RoundMetrics | None


def test_each_retraining_is_a_row() -> None:
    metrics = {
        "miou_before": 0.43,
        "miou_after": 0.5,
        "miou_change": (0.02, 0.12),
        "old_miou_before": 0.56,
        "old_miou_after": 0.55,
        "iou_error_before": 0.2,
        "iou_error_after": 0.1,
        "share": 0.8,
        "left_out": {"too_small": 3, "too_large": 1},
        "guard": {"accepted": False, "reason": "worse at 1 click"},
    }
    lines = learning_lines(
        [_Round("assisted_manual", 1, RoundMetrics.from_dict(metrics)), _Round("semi_automatic", 1, None)]
    )
    (row,) = [line for line in lines if line.startswith("| assisted")]
    assert row == (
        "| assisted manual 1 | 0.430 > 0.500 (+0.020 to +0.120) | - | - | 0.560 > 0.550 | - | 0.200 > 0.100 | 80% "
        "| 3 small, 1 large | no: worse at 1 click |"
    )
    assert lines[-1] == LEARNING_NOTE
    heads = next(line for line in lines if line.startswith("| Round"))
    assert heads.count("|") == row.count("|")


def test_a_model_that_was_used_and_measured_by_nothing() -> None:
    (row,) = [
        line for line in learning_lines([_Round("fully_automatic", 1, RoundMetrics())]) if line.startswith("| fully")
    ]
    assert row == "| fully automatic 1 | - | - | - | - | - | - | - | - | yes |"


def test_without_a_retraining_there_is_no_table() -> None:
    assert learning_lines([_Round("assisted_manual", 1, None)]) == []


def test_a_model_that_keeps_its_start_model_inside_says_so() -> None:
    metrics = RoundMetrics.from_dict({"share": 1.0, "new_kind": True})
    (row,) = [line for line in learning_lines([_Round("semi_automatic", 2, metrics)]) if line.startswith("| semi")]
    assert row == "| semi automatic 2 | - | - | - | - | - | - | 100%, beside the start model | - | yes |"
