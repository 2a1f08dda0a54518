"""Which thresholds of the mask generator fit a model: F-measure of its masks against ground truth, at an IoU of .5.

    python -m benchmarks.generator_preset DATA --pictures 10

Masks are made once with loose thresholds (and once more for each stability offset); every setting then filters these
and suppresses duplicates anew. Only data sets whose ground truth shows nearly everything are fit for this; objects are
those of one annotator. Pictures are a random choice by a fixed seed. A setting's F is the mean of the F of the data
sets; printed are the best settings, and the settings of the preset as it stands.
"""

from itertools import product
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import typer

from engine import rle as rle_codec
from engine.evaluation.automatic import NOTHING, AutomaticScores, objects_of
from engine.evaluation.matching import match_overlaps
from engine.masks.generator import MaskGenerator
from engine.masks.nms import box_nms
from engine.samples import CocoSamples
from flows.allocator import keep_freed_memory
from model.predictor import Predictor
from model.registry import model_roots
from model.storage import load_model
from schemas.presets import GeneratorConfig, generator_preset

DATASETS = ("bsds500/val", "ccp/val", "facade_night/val")
PREDICTED_IOUS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
STABILITIES = (0.5, 0.65, 0.75, 0.8, 0.85, 0.92)
SUPPRESSIONS = (0.4, 0.5, 0.6, 0.7)
# Duplicates beyond any suppression that is tried are left out at once, or there would be thousands.
LOOSE = {"pred_iou_thresh": PREDICTED_IOUS[0], "stability_score_thresh": 0.0, "box_nms_thresh": 0.85}


class Setting(NamedTuple):
    """A choice of thresholds, named as in `GeneratorConfig`."""

    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    box_nms_thresh: float

    @staticmethod
    def of(config: GeneratorConfig) -> "Setting":
        return Setting(*(getattr(config, name) for name in Setting._fields))


class Found(NamedTuple):
    """N loose masks of a picture, best first. boxes: (N, 4). predicted_iou, stability: (N,). overlaps: (N, objects)."""

    boxes: torch.Tensor
    predicted_iou: torch.Tensor
    stability: torch.Tensor
    overlaps: npt.NDArray[np.float64]

    def scores(self, setting: Setting) -> AutomaticScores:
        """Of the masks that a setting leaves."""
        fit = (self.predicted_iou > setting.pred_iou_thresh) & (self.stability >= setting.stability_score_thresh)
        rows = fit.nonzero().squeeze(1)
        kept = rows[box_nms(self.boxes[rows], self.predicted_iou[rows], iou_threshold=setting.box_nms_thresh)]
        overlaps = self.overlaps[kept.numpy()]
        return AutomaticScores(len(kept), sum(match_overlaps(overlaps)), self.overlaps.shape[1], 1)


def loose_masks(generator: MaskGenerator, samples: CocoSamples, *, pictures: int, seed: int) -> list[Found]:
    """What there is to choose from on some pictures."""
    found = []
    for sample in samples.some(pictures, seed=seed):
        masks = sorted(generator.generate(sample.image).masks, key=lambda mask: -mask.predicted_iou)
        found.append(
            Found(
                torch.tensor([mask.box for mask in masks]).reshape(-1, 4) - torch.tensor([0, 0, 1, 1]),  # inclusive
                torch.tensor([mask.predicted_iou for mask in masks]),
                torch.tensor([mask.stability_score for mask in masks]),
                rle_codec.iou_matrix([mask.rle for mask in masks], objects_of(sample)),
            )
        )
    return found


def row(setting: Setting, scores: dict[str, AutomaticScores]) -> str:
    """One line of the table."""
    cells = [f"{value:g}" for value in setting] + [f"{mean_f(scores):.3f}"]
    for one in scores.values():
        cells.append(f"{one.recall:.3f} / {one.precision:.3f} / {one.f_measure:.3f} / {one.masks_per_image:.0f}")
    return "| " + " | ".join(cells) + " |"


def mean_f(scores: dict[str, AutomaticScores]) -> float:
    """Each data set weighs the same, however many objects it has."""
    return float(np.mean([one.f_measure for one in scores.values()]))


def main(
    data: Annotated[Path, typer.Argument(help="Folder with FOLDER/SPLIT.json below it.")],
    model: Annotated[str, typer.Option("--model", "-m")] = "nano",
    preset: Annotated[str, typer.Option(help="Whose thresholds are to be chosen; the rest stays as it is.")] = "nano",
    datasets: Annotated[str, typer.Option(help="FOLDER/SPLIT, separated by commas.")] = ",".join(DATASETS),
    pictures: Annotated[int, typer.Option(min=1, help="Of each data set.")] = 10,
    min_area: Annotated[int, typer.Option(min=1, help="Leave smaller objects out (pixels).")] = 100,
    offsets: Annotated[str, typer.Option(help="Stability offsets; each costs a run.")] = "0.3,1",
    show: Annotated[int, typer.Option(min=1, help="Settings to print, best first.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the choice of pictures.")] = 0,
) -> None:
    """Print the settings with the highest F-measure."""
    keep_freed_memory()
    sam, info = load_model(model, model_roots())
    standing = generator_preset(preset)
    sets = {
        name: CocoSamples([data / f"{name}.json"], one_annotator=True).sampled(max_masks=None, min_area_px=min_area)
        for name in datasets.split(",")
    }
    results: dict[Setting, dict[str, AutomaticScores]] = {}
    for offset in sorted({*map(float, offsets.split(",")), standing.stability_score_offset}):
        config = generator_preset(preset, **LOOSE, stability_score_offset=offset)
        generator = MaskGenerator(Predictor(sam), config)
        found = {name: loose_masks(generator, each, pictures=pictures, seed=seed) for name, each in sets.items()}
        tried = [Setting(p, s, offset, b) for p, s, b in product(PREDICTED_IOUS, STABILITIES, SUPPRESSIONS)]
        if offset == standing.stability_score_offset:
            tried.append(Setting.of(standing))
        for setting in tried:
            results[setting] = {
                name: sum((one.scores(setting) for one in each), NOTHING) for name, each in found.items()
            }
    best = sorted(results, key=lambda setting: -mean_f(results[setting]))[:show]
    print(f"{info.name} ({info.model_id}), {pictures} pictures a set, objects of at least {min_area} px, seed {seed}\n")
    heads = [*(name.removesuffix("_thresh") for name in Setting._fields), "mean F"]
    heads += [f"{name}: recall / precision / F / masks" for name in sets]
    for line in (heads, ["---"] * len(heads)):
        print("| " + " | ".join(line) + " |")
    for setting in best:
        print(row(setting, results[setting]))
    print(f"\nPreset {preset} as it stands:\n\n{row(Setting.of(standing), results[Setting.of(standing)])}")


if __name__ == "__main__":
    typer.run(main)
