"""The evaluations that prompt every mask of the ground truth and look at the IoU of the answer."""

from collections.abc import Mapping
from typing import Any

from engine.evaluation.baselines import felzenszwalb_at_points, grabcut_from_boxes
from engine.evaluation.boxes import evaluate_boxes
from engine.evaluation.evaluations import Measured, Samples
from engine.evaluation.mask_prompts import evaluate_mask_prompts
from engine.evaluation.points import evaluate_points
from engine.evaluation.scores import PromptScores
from model.predictor import Predictor
from schemas.errors import InputError

_COLUMNS = ("confident", "oracle", "error of predicted IoU")


def points(
    predictor: Predictor, samples: Samples, /, *, clicks: str | int = "1,2,3,5,9", baselines: bool = False
) -> Measured:
    """mIoU from simulated clicks: the first farthest from the mask's boundary, the next in the error region.

    clicks: the numbers to report, separated by commas. baselines: also Felzenszwalb's segment under the point.
    """
    found = evaluate_points(predictor, samples, clicks=_click_counts(str(clicks)))
    classical = felzenszwalb_at_points(samples.told("Felzenszwalb")) if baselines else None
    rows = _summaries({str(count): scores for count, scores in found.items()})
    return _measured("clicks", rows, {"points": rows}, _summaries({"felzenszwalb": classical}), found)


def boxes(predictor: Predictor, samples: Samples, /, *, baselines: bool = False) -> Measured:
    """mIoU from the tight box of each mask. baselines: also GrabCut from the same box."""
    found = {"box": evaluate_boxes(predictor, samples)}
    classical = grabcut_from_boxes(samples.told("GrabCut")) if baselines else None
    rows = _summaries(found)
    return _measured("prompt", rows, rows, _summaries({"grabcut": classical}), found)


def masks(predictor: Predictor, samples: Samples, /) -> Measured:
    """mIoU of what comes back for a mask that is handed in as the only prompt, of all and by size."""
    found = evaluate_mask_prompts(predictor, samples)
    rows = _summaries(found)
    return _measured("masks", rows, {"masks_alone": rows}, {}, found)


def _summaries(found: Mapping[Any, PromptScores | None]) -> dict[str, dict[str, Any]]:
    return {name: scores.summary() for name, scores in found.items() if scores is not None}


def _measured(
    heading: str,
    rows: Mapping[str, dict[str, Any]],
    values: Mapping[str, Any],
    classical: Mapping[str, dict[str, Any]],
    found: Mapping[Any, PromptScores | None],
) -> Measured:
    """rows: one a kind of prompt. classical: of methods without a model, at the end of the table."""
    first = next((scores for scores in found.values() if scores is not None), None)
    table = tuple((name, *_cells(row)) for name, row in {**rows, **classical}.items())
    return Measured(
        0 if first is None else len(first.confident),
        {**values, "baselines": dict(classical)} if classical else values,
        "mIoU, with 95 % interval",
        (heading, *_COLUMNS),
        table,
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Of one summary: mIoU of the confident mask and of the best one, and how far the predicted IoU is off."""
    both = (f"{row[k]['miou']:.3f} ({row[k]['low']:.3f} to {row[k]['high']:.3f})" for k in ("confident", "oracle"))
    error = row.get("predicted_iou_error")
    return *both, "-" if error is None else f"{error:.3f}"


def _click_counts(text: str) -> list[int]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise InputError(f"clicks {text}: give whole numbers separated by commas, for example 1,3,9") from error
    if counts[0] < 1:
        raise InputError(f"clicks {text}: at least one click is needed")
    return counts
