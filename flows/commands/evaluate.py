"""`sam-engine evaluate`: how good a model is on any COCO-format data."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note, progress_bars

if TYPE_CHECKING:
    from engine.evaluation.points import ClickScores
    from engine.samples import CocoSamples
    from model.training.samples import Sample
    from stages.progress import Progress

evaluate = typer.Typer(help="Measure a model against ground truth in COCO format.", no_args_is_help=True)


@evaluate.callback()
def _group() -> None:
    """Keeps `points` a subcommand although it is the only one."""


@evaluate.command()
def points(
    coco: Annotated[list[Path], typer.Option("--coco", help="COCO json with ground-truth masks; may be repeated.")],
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder that file names in the json are relative to.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Name or id of a model, or its folder.")] = "nano",
    workspace: Annotated[Path | None, typer.Option("--workspace", help="Also look for the model there.")] = None,
    clicks: Annotated[str, typer.Option("--clicks", help="Numbers of clicks to report, separated by commas.")] = "1",
    max_masks: Annotated[int | None, typer.Option("--max-masks", min=1, help="A random sample of masks.")] = None,
    min_area: Annotated[int, typer.Option("--min-area", min=1, help="Leave smaller masks out (pixels).")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of the sample.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """mIoU from simulated clicks: the first farthest from the mask's boundary, the next in the error region.

    "confident" is the mask with the highest predicted IoU, "oracle" the best of the three that one click gets.
    Intervals are 95 % bootstrap intervals of the mean over masks.
    """
    from engine.evaluation.points import evaluate_points
    from engine.samples import CocoSamples
    from model.predictor import Predictor
    from model.registry import load_model, model_roots
    from schemas.config import ModelConfig
    from stages.workers import device_of

    counts = _click_counts(clicks)
    where = device_of(ModelConfig.model_validate({"device": device}))
    sam, info = load_model(model, model_roots(workspace), device=where)
    samples = CocoSamples(coco, images_root=images)
    for problem in samples.problems:
        note(f"{problem.source}: {problem.reason}")
    samples = samples.sampled(max_masks=max_masks, min_area_px=min_area, seed=seed)
    with progress_bars() as progress:
        scores = evaluate_points(
            Predictor(sam),
            _watched(samples, progress),
            clicks=counts,
        )
    result = {
        "model": info.model_id,
        "masks": len(next(iter(scores.values())).confident) if scores else 0,
        "points": {str(count): _summary(found) for count, found in scores.items()},
    }
    emit(result, as_json=as_json, text=_table(result, info.name))


def _click_counts(text: str) -> list[int]:
    from schemas.errors import InputError

    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise InputError(f"--clicks {text}: give whole numbers separated by commas, for example 1,3,9") from error
    if counts[0] < 1:
        raise InputError(f"--clicks {text}: at least one click is needed")
    return counts


def _watched(samples: "CocoSamples", progress: "Progress") -> "Iterator[Sample]":
    for index in range(len(samples)):
        progress("evaluating", index, len(samples))
        yield samples[index]
    progress("evaluating", len(samples), len(samples))


def _summary(scores: "ClickScores") -> dict[str, Any]:
    from engine.evaluation.bootstrap import bootstrap_mean

    summary: dict[str, Any] = {"predicted_iou_error": scores.predicted_iou_error}
    for name, values in (("confident", scores.confident), ("oracle", scores.oracle)):
        low, high = bootstrap_mean(values)
        summary[name] = {"miou": float(values.mean()), "low": low, "high": high}
    return summary


def _table(result: dict[str, Any], name: str) -> Any:
    from rich.table import Table

    table = Table(title=f"{name} ({result['model']}): mIoU of {result['masks']} masks, with 95 % interval")
    for heading in ("clicks", "confident", "oracle", "error of predicted IoU"):
        table.add_column(heading, justify="right")
    for clicks, row in result["points"].items():
        cells = [f"{row[k]['miou']:.3f} ({row[k]['low']:.3f} to {row[k]['high']:.3f})" for k in ("confident", "oracle")]
        table.add_row(clicks, *cells, f"{row['predicted_iou_error']:.3f}")
    return table
