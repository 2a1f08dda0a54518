"""`sam-engine evaluate`: how good a model is on any COCO-format data."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note, progress_bars

if TYPE_CHECKING:
    from engine.evaluation.scores import PromptScores
    from engine.samples import CocoSamples
    from model.predictor import Predictor
    from model.registry import ModelInfo
    from model.training.samples import Sample
    from stages.progress import Progress

evaluate = typer.Typer(help="Measure a model against ground truth in COCO format.", no_args_is_help=True)

Coco = Annotated[list[Path], typer.Option("--coco", help="COCO json with ground-truth masks; may be repeated.")]
Images = Annotated[Path | None, typer.Option("--images", help="Folder that file names in the json are relative to.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Name or id of a model, or its folder.")]
Workspace = Annotated[Path | None, typer.Option("--workspace", help="Also look for the model there.")]
MaxMasks = Annotated[int | None, typer.Option("--max-masks", min=1, help="A random sample of masks.")]
MinArea = Annotated[int, typer.Option("--min-area", min=1, help="Leave smaller masks out (pixels).")]
Seed = Annotated[int, typer.Option("--seed", help="Of the sample.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]


@evaluate.command()
def points(
    coco: Coco,
    images: Images = None,
    model: Model = "nano",
    workspace: Workspace = None,
    clicks: Annotated[
        str, typer.Option("--clicks", help="Numbers of clicks to report, separated by commas.")
    ] = "1,2,3,5,9",
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also Felzenszwalb's segment under the point, the best of three scales.")
    ] = False,
    max_masks: MaxMasks = None,
    min_area: MinArea = 1,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """mIoU from simulated clicks: the first farthest from the mask's boundary, the next in the error region.

    "confident" is the mask with the highest predicted IoU, "oracle" the best of the three that one click gets.
    Intervals are 95 % bootstrap intervals of the mean over masks.
    """
    from engine.evaluation.baselines import felzenszwalb_at_points
    from engine.evaluation.points import evaluate_points

    counts = _click_counts(clicks)
    subject = _subject(coco, images, model, workspace, max_masks, min_area, seed, device)
    with progress_bars() as progress:
        scores = evaluate_points(subject.predictor, subject.watched(progress), clicks=counts)
        classical = felzenszwalb_at_points(subject.watched(progress, "Felzenszwalb")) if baselines else None
    named = {str(count): found for count, found in scores.items()}
    _report(subject, "points", named, {"felzenszwalb": classical}, as_json=as_json)


@evaluate.command()
def boxes(
    coco: Coco,
    images: Images = None,
    model: Model = "nano",
    workspace: Workspace = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also GrabCut from the same box.")] = False,
    max_masks: MaxMasks = None,
    min_area: MinArea = 1,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """mIoU from the tight box of each mask.

    "confident" is the mask with the highest predicted IoU, "oracle" the best of the three that a box gets.
    Intervals are 95 % bootstrap intervals of the mean over masks.
    """
    from engine.evaluation.baselines import grabcut_from_boxes
    from engine.evaluation.boxes import evaluate_boxes

    subject = _subject(coco, images, model, workspace, max_masks, min_area, seed, device)
    with progress_bars() as progress:
        found = evaluate_boxes(subject.predictor, subject.watched(progress))
        classical = grabcut_from_boxes(subject.watched(progress, "GrabCut")) if baselines else None
    _report(subject, "box", found, {"grabcut": classical}, as_json=as_json)


@dataclass(frozen=True)
class _Subject:
    """A model and the masks it is measured on."""

    predictor: "Predictor"
    info: "ModelInfo"
    samples: "CocoSamples"

    def watched(self, progress: "Progress", what: str = "evaluating") -> "Iterator[Sample]":
        for index in range(len(self.samples)):
            progress(what, index, len(self.samples))
            yield self.samples[index]
        progress(what, len(self.samples), len(self.samples))


def _subject(
    coco: list[Path],
    images: Path | None,
    model: str,
    workspace: Path | None,
    max_masks: int | None,
    min_area: int,
    seed: int,
    device: str,
) -> _Subject:
    from engine.samples import CocoSamples
    from model.devices import device_of
    from model.predictor import Predictor
    from model.registry import model_roots
    from model.storage import load_model

    sam, info = load_model(model, model_roots(workspace), device=device_of(device))
    samples = CocoSamples(coco, images_root=images)
    for problem in samples.problems:
        note(f"{problem.source}: {problem.reason}")
    return _Subject(Predictor(sam), info, samples.sampled(max_masks=max_masks, min_area_px=min_area, seed=seed))


def _click_counts(text: str) -> list[int]:
    from schemas.errors import InputError

    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise InputError(f"--clicks {text}: give whole numbers separated by commas, for example 1,3,9") from error
    if counts[0] < 1:
        raise InputError(f"--clicks {text}: at least one click is needed")
    return counts


def _report(
    subject: _Subject,
    prompts: str,
    found: "dict[str, PromptScores] | PromptScores | None",
    baselines: "dict[str, PromptScores | None]",
    *,
    as_json: bool,
) -> None:
    """Print what was measured. found: by number of clicks, or of boxes; never empty, since sampling asks for a mask."""
    several = found if isinstance(found, dict) else {prompts: found}
    rows = {name: scores for name, scores in several.items() if scores is not None}
    classical = {name: scores.summary() for name, scores in baselines.items() if scores is not None}
    summaries = {name: scores.summary() for name, scores in rows.items()}
    masks = len(next(iter(rows.values())).confident)
    result: dict[str, Any] = {"model": subject.info.model_id, "masks": masks}
    result[prompts] = summaries if isinstance(found, dict) else summaries[prompts]
    if classical:
        result["baselines"] = classical
    title = f"{subject.info.name} ({subject.info.model_id}): mIoU of {masks} masks, with 95 % interval"
    heading = "clicks" if prompts == "points" else "prompt"
    emit(result, as_json=as_json, text=None if as_json else _table(title, heading, summaries | classical))


def _table(title: str, heading: str, rows: dict[str, dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title=title)
    for column in (heading, "confident", "oracle", "error of predicted IoU"):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        cells = [f"{row[k]['miou']:.3f} ({row[k]['low']:.3f} to {row[k]['high']:.3f})" for k in ("confident", "oracle")]
        error = row.get("predicted_iou_error")
        table.add_row(name, *cells, "-" if error is None else f"{error:.3f}")
    return table
