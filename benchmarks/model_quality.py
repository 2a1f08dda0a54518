"""How good a model is, beside two classical segmenters: clicks, boxes, masks, borders and automatic masks, in one run.

    python -m benchmarks.model_quality DATA --json benchmarks/results/nano_quality.json
    python -m benchmarks.model_quality DATA --card        # also keeps the figures in the model's card

Data sets are COCO files below the folder. Masks are a random sample of each file, by a fixed seed; figures are mIoU,
the mean over masks. Felzenszwalb is the best of three scales under the first click, GrabCut starts from the same box.
Automatic masks are compared with the objects of one annotator, of at least --min-area px, on --pictures pictures a set.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.evaluation.automatic import (
    FindMasks,
    evaluate_automatic,
    evaluate_main_objects,
    generated_by,
    main_object,
)
from engine.evaluation.baselines import felzenszwalb_at_points, grabcut_from_boxes
from engine.evaluation.boxes import evaluate_boxes
from engine.evaluation.mask_prompts import evaluate_mask_prompts
from engine.evaluation.points import evaluate_points
from engine.evaluation.scores import PromptScores
from engine.evaluation.shapes import evaluate_shapes
from engine.masks.generator import MaskGenerator
from engine.samples import CocoSamples
from flows.allocator import keep_freed_memory
from model.predictor import Predictor
from model.registry import CARD_FILE, model_roots
from model.storage import load_model
from schemas.presets import generator_preset

DATASETS = ("bsds500/test", "coco_mini/val", "ccp/val", "labelmefacade/val")
CLICKS = (1, 2, 3, 5, 9)
# Ground truth of the first three shows nearly everything, so that precision means something there.
AUTOMATIC_DATASETS = ("bsds500/val", "facade_night/val", "ccp/val", "coco_mini/val")
EXHAUSTIVE = AUTOMATIC_DATASETS[:3]
# Photos of one or a few things, of which the largest is the one that anybody would cut out.
MAIN_OBJECT_DATASETS = ("animals/val", "pets/val", "weizmann/val", "coco_person/val")


def measure(predictor: Predictor, file: Path, *, max_masks: int, min_area_px: int, seed: int) -> dict[str, Any]:
    """Everything about one data set, with 95 % bootstrap intervals, as `sam-engine evaluate --json` writes it."""
    samples = CocoSamples([file]).sampled(max_masks=max_masks, min_area_px=min_area_px, seed=seed)
    pictures = [samples[index] for index in range(len(samples))]
    points = evaluate_points(predictor, pictures, clicks=CLICKS)
    box, shapes = evaluate_boxes(predictor, pictures), evaluate_shapes(predictor, pictures)
    classical = {"felzenszwalb": felzenszwalb_at_points(pictures), "grabcut": grabcut_from_boxes(pictures)}
    return {
        "masks": len(points[1].confident),
        "points": {str(clicks): scores.summary() for clicks, scores in points.items()},
        "box": box.summary() if box else {},
        "mask_only": {size: scores.summary() for size, scores in evaluate_mask_prompts(predictor, pictures).items()},
        "shapes": shapes.summary() if shapes else {},
        "baselines": {name: scores.summary() for name, scores in classical.items() if scores},
    }


def measure_automatic(find: FindMasks, file: Path, *, pictures: int, min_area_px: int, seed: int) -> dict[str, Any]:
    """Automatic masks of some pictures of a data set, at an IoU of .5."""
    samples = CocoSamples([file], one_annotator=True).sampled(max_masks=None, min_area_px=min_area_px)
    return evaluate_automatic(find, samples.some(pictures, seed=seed)).summary()


def measure_main_objects(
    find: FindMasks, predictor: Predictor, file: Path, *, pictures: int, seed: int
) -> dict[str, dict[str, float]]:
    """Share of main objects found at an IoU of .5 and .75, by an automatic mask and by a click into their middle."""
    samples = CocoSamples([file], one_annotator=True).some(pictures, seed=seed)
    clicked = evaluate_points(predictor, [main_object(sample) for sample in samples])[1]
    found: dict[str, PromptScores | None] = {"automatic": evaluate_main_objects(find, samples), "click": clicked}
    return {
        name: {"pictures": len(scores.confident), ".5": scores.found_frac(0.5), ".75": scores.found_frac(0.75)}
        for name, scores in found.items()
        if scores
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """Clicks and boxes: confident / oracle where they differ."""
    heads = [
        "data set",
        "Felzenszwalb",
        *(f"{clicks} click{'s' * (clicks > 1)}" for clicks in CLICKS),
        "GrabCut",
        "box",
    ]
    rows = []
    for name, values in found.items():
        one = values["points"]["1"]
        clicks = [_score(values["points"][str(count)]["confident"]) for count in CLICKS[1:]]
        rows.append(
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
    return "\n".join([_markdown(heads, rows), "", "Mean absolute error of the predicted IoU, by clicks:", "", *errors])


def shapes_table(found: dict[str, dict[str, Any]]) -> str:
    """Masks alone as prompt, by size; and how clean the masks from boxes are."""
    heads = ["data set", "mask alone", "small", "medium", "large"]
    heads += ["boundary IoU (box)", "in islands", "stops short of an edge", "overshoots to one"]
    rows = []
    for name, values in found.items():
        kept = [_score(values["mask_only"][s]["confident"]) if s in values["mask_only"] else "-" for s in _SIZES]
        shapes = values["shapes"]
        short = "-" if shapes["stops_short"] is None else f"{shapes['stops_short']:.3f} of {shapes['at_edge']}"
        clean = [f"{shapes['boundary_iou']:.3f}", f"{shapes['island_frac']:.4f}", short, f"{shapes['overshoots']:.3f}"]
        rows.append([name, *kept, *clean])
    return _markdown(heads, rows)


def automatic_table(found: dict[str, dict[str, Any]]) -> str:
    """Recall everywhere, precision and F-measure where ground truth shows everything."""
    heads = ["data set", "pictures", "recall", "precision", "F", "masks / picture"]
    rows = []
    for name, values in found.items():
        judged = [f"{values[key]:.3f}" if name in EXHAUSTIVE else "-" for key in ("precision", "f_measure")]
        rows.append(
            [name, str(values["images"]), f"{values['recall']:.3f}", *judged, f"{values['masks_per_image']:.1f}"]
        )
    return _markdown(heads, rows)


def main_objects_table(found: dict[str, dict[str, Any]]) -> str:
    """Shares found, at IoU .5 / .75."""
    heads = ["data set", "pictures", "main object found automatically", "by one click"]
    rows = [
        [name, str(values["click"]["pictures"])]
        + [f"{values[how]['.5']:.3f} / {values[how]['.75']:.3f}" for how in ("automatic", "click")]
        for name, values in found.items()
    ]
    return _markdown(heads, rows)


_SIZES = ("all", "small", "medium", "large")


def _markdown(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ["---"] * len(heads), *rows])


def _score(summary: dict[str, float]) -> str:
    return f"{summary['miou']:.3f}"


def main(
    data: Annotated[Path, typer.Argument(help="Folder with FOLDER/SPLIT.json below it.")],
    model: Annotated[str, typer.Option("--model", "-m")] = "nano",
    datasets: Annotated[str, typer.Option(help="FOLDER/SPLIT, separated by commas.")] = ",".join(DATASETS),
    max_masks: Annotated[int, typer.Option(min=1)] = 300,
    min_area: Annotated[int, typer.Option(min=1, help="Leave smaller masks out (pixels).")] = 100,
    pictures: Annotated[int, typer.Option(min=0, help="Of each file for automatic masks; 0: none are made.")] = 20,
    preset: Annotated[str, typer.Option(help="Of the generator.")] = "nano",
    seed: Annotated[int, typer.Option(help="Of the sample of masks and pictures.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here.")] = None,
    card: Annotated[bool, typer.Option("--card", help="Keep the figures in the model's card.")] = False,
) -> None:
    """Measure a model and print its tables."""
    keep_freed_memory()
    sam, info = load_model(model, model_roots())
    predictor, found = Predictor(sam), {}
    for name in datasets.split(","):
        found[name] = measure(predictor, data / f"{name}.json", max_masks=max_masks, min_area_px=min_area, seed=seed)
        typer.echo(f"{name}: {found[name]['masks']} masks measured", err=True)
    typer.echo(f"{info.name} ({info.model_id}), up to {max_masks} masks of at least {min_area} px a set, seed {seed}\n")
    typer.echo(f"{table(found)}\n\n{shapes_table(found)}")
    result = {"model": info.model_id, "max_masks": max_masks, "min_area_px": min_area, "seed": seed, "datasets": found}
    if pictures:
        find = generated_by(MaskGenerator(predictor, generator_preset(preset)))
        automatic = {
            name: measure_automatic(find, data / f"{name}.json", pictures=pictures, min_area_px=min_area, seed=seed)
            for name in AUTOMATIC_DATASETS
        }
        mains = {
            name: measure_main_objects(find, predictor, data / f"{name}.json", pictures=pictures, seed=seed)
            for name in MAIN_OBJECT_DATASETS
        }
        typer.echo(f"\nGenerator preset {preset}, objects at IoU .5:\n\n{automatic_table(automatic)}")
        typer.echo(f"\n{main_objects_table(mains)}")
        result |= {"preset": preset, "automatic": automatic, "main_objects": mains}
    if json_file:
        json_file.write_text(json.dumps(result, indent=1) + "\n")
    if card:
        path = info.folder / CARD_FILE
        values = json.loads(path.read_text())
        values["metrics"] = {key: value for key, value in result.items() if key != "model"}
        path.write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
