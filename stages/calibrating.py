"""Predicted IoUs that mean what they say on a workspace's pictures: after each retraining, and before the first one."""

from dataclasses import asdict, replace

from engine.evaluation.model_scores import ModelScores
from engine.evaluation.scores import PromptScores
from engine.keys import content_key
from engine.mirrors import models_here, models_to_write
from engine.store import Store
from model.calibration import Line, apply_lines, fit_line
from model.devices import device_of
from model.registry import ModelCard, ModelInfo, read_info
from model.sam import Sam
from model.storage import load_model, save_model
from schemas.config import EngineConfig
from stages.measuring import measuring_set
from stages.progress import Progress

TOLERATED_ERROR = 0.15  # of a start model's predicted IoU at 1 click: it is taken as it is


def calibrate(sam: Sam, scores: ModelScores) -> tuple[ModelScores, dict[str, Line]]:
    """Bend the predicted IoUs of `sam` to the true ones: of the masks that answer 1 click, of the one that answers 3.

    scores: of `sam` as it is. Returns the scores as they are then, and the lines.
    """
    multiple, single = (_line(prompted) for prompted in (scores.one_click, scores.three_clicks))
    apply_lines(sam, single=single, multiple=multiple)
    calibrated = ModelScores(
        _bent(scores.one_click, multiple), _bent(scores.three_clicks, single), _bent(scores.box, multiple)
    )
    return calibrated, {"single": single, "multiple": multiple}


def calibrated_start(store: Store, config: EngineConfig, start: ModelInfo, progress: Progress) -> ModelInfo:
    """The start model, or where its predicted IoU is far off on held-out pictures, a calibrated copy of it.

    The copy is registered in the workspace, with the start model as its parent; the start model stays as it is. Its
    name follows from what it was made of, so that the same call again finds it.
    """
    measured = measuring_set(store, frozenset(), seed=config.seed)
    if measured is None:
        return start
    name = f"{start.name}-calibrated-{content_key('calibrated', start.model_id, measured.key)[:6]}"
    sam, _ = load_model(start.model_id, store.files.model_roots(), device=device_of(config.model.device))
    scores = measured.score(store, sam, lambda done, total: progress("measuring the start model", done, total))
    error = None if scores is None else scores.one_click.predicted_iou_error
    if scores is None or error is None or error <= TOLERATED_ERROR:
        return start
    after, lines = calibrate(sam, scores)
    if lines["multiple"] == Line():
        return start
    card = ModelCard(
        name=name,
        parent=start.model_id,
        trained_on={"calibrated_on": measured.key, "images": len(measured.masks), "masks": measured.count},
        metrics={
            "calibration": {which: asdict(line) for which, line in lines.items()},
            "iou_error_before": error,
            "iou_error_after": after.one_click.predicted_iou_error,
        },
        notes="the predicted IoUs of its parent, calibrated on held-out pictures; masks are the same",
    )
    with models_to_write(store.files.models) as models:
        save_model(sam, models, card)
    return read_info(models_here(store.files.models) / name)


def _line(scores: PromptScores) -> Line:
    return Line() if scores.predicted is None else fit_line(scores.predicted, scores.confident)


def _bent(scores: PromptScores, line: Line) -> PromptScores:
    predicted = scores.predicted
    return scores if predicted is None else replace(scores, predicted=line.slope * predicted + line.intercept)
