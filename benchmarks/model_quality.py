"""How good a model is, beside two classical segmenters: clicks and boxes on every data set, in one run.

    python -m benchmarks.model_quality ../shared/data --json benchmarks/results/nano_quality.json
    python -m benchmarks.model_quality ../shared/data --card        # also keeps the figures in the model's card

Data sets are COCO files below the folder. Masks are a random sample of each file, by a fixed seed; figures are mIoU,
the mean over masks. Felzenszwalb is the best of three scales under the first click, GrabCut starts from the same box.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.evaluation.baselines import felzenszwalb_at_points, grabcut_from_boxes
from engine.evaluation.boxes import evaluate_boxes
from engine.evaluation.points import evaluate_points
from engine.samples import CocoSamples
from flows.allocator import keep_freed_memory
from model.predictor import Predictor
from model.registry import CARD_FILE, load_model, model_roots

DATASETS = ("bsds500/test", "coco_mini/val", "ccp/val", "labelmefacade/val")
CLICKS = (1, 2, 3, 5, 9)


def measure(predictor: Predictor, file: Path, *, max_masks: int, min_area_px: int, seed: int) -> dict[str, Any]:
    """Everything about one data set, with 95 % bootstrap intervals, as `sam-engine evaluate --json` writes it."""
    samples = CocoSamples([file]).sampled(max_masks=max_masks, min_area_px=min_area_px, seed=seed)
    pictures = [samples[index] for index in range(len(samples))]
    points = evaluate_points(predictor, pictures, clicks=CLICKS)
    box = evaluate_boxes(predictor, pictures)
    classical = {"felzenszwalb": felzenszwalb_at_points(pictures), "grabcut": grabcut_from_boxes(pictures)}
    return {
        "masks": len(points[1].confident),
        "points": {str(clicks): scores.summary() for clicks, scores in points.items()},
        "box": box.summary() if box else {},
        "baselines": {name: scores.summary() for name, scores in classical.items() if scores},
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: confident / oracle where they differ."""
    heads = [
        "data set",
        "Felzenszwalb",
        *(f"{clicks} click{'s' * (clicks > 1)}" for clicks in CLICKS),
        "GrabCut",
        "box",
    ]
    lines = [heads, ["---"] * len(heads)]
    for name, values in found.items():
        one = values["points"]["1"]
        clicks = [_score(values["points"][str(count)]["confident"]) for count in CLICKS[1:]]
        lines.append(
            [
                name,
                _score(values["baselines"]["felzenszwalb"]["oracle"]),
                f"{_score(one['confident'])} / {_score(one['oracle'])}",
                *clicks,
                _score(values["baselines"]["grabcut"]["confident"]),
                f"{_score(values['box']['confident'])} / {_score(values['box']['oracle'])}",
            ]
        )
    errors = [
        f"{name}: "
        + ", ".join(f"{values['points'][str(count)]['predicted_iou_error']:.3f} at {count}" for count in CLICKS)
        + f", {values['box']['predicted_iou_error']:.3f} from a box"
        for name, values in found.items()
    ]
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([*rows, "", "Mean absolute error of the predicted IoU, by clicks:", "", *errors])


def _score(summary: dict[str, float]) -> str:
    return f"{summary['miou']:.3f}"


def main(
    data: Annotated[Path, typer.Argument(help="Folder with FOLDER/SPLIT.json below it.")],
    model: Annotated[str, typer.Option("--model", "-m")] = "nano",
    datasets: Annotated[str, typer.Option(help="FOLDER/SPLIT, separated by commas.")] = ",".join(DATASETS),
    max_masks: Annotated[int, typer.Option(min=1)] = 300,
    min_area: Annotated[int, typer.Option(min=1, help="Leave smaller masks out (pixels).")] = 100,
    seed: Annotated[int, typer.Option(help="Of the sample of masks.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here.")] = None,
    card: Annotated[bool, typer.Option("--card", help="Keep the figures in the model's card.")] = False,
) -> None:
    """Measure a model and print one table."""
    keep_freed_memory()
    sam, info = load_model(model, model_roots())
    predictor, found = Predictor(sam), {}
    for name in datasets.split(","):
        found[name] = measure(predictor, data / f"{name}.json", max_masks=max_masks, min_area_px=min_area, seed=seed)
        typer.echo(f"{name}: {found[name]['masks']} masks measured", err=True)
    typer.echo(f"{info.name} ({info.model_id}), up to {max_masks} masks of at least {min_area} px a set, seed {seed}\n")
    typer.echo(table(found))
    result = {"model": info.model_id, "max_masks": max_masks, "min_area_px": min_area, "seed": seed, "datasets": found}
    if json_file:
        json_file.write_text(json.dumps(result, indent=1) + "\n")
    if card:
        path = info.folder / CARD_FILE
        values = json.loads(path.read_text())
        values["metrics"] = {key: value for key, value in result.items() if key != "model"}
        path.write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
