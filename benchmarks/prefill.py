"""What a semi-automatic round would prefill, by the generator and by the detector, after a few pictures were annotated.

    python -m benchmarks.prefill DATA --learn 20 --measure 25

Data sets are COCO files below the folder. Of each, a random choice (by a fixed seed) is what people have annotated so
far, another is held out. For a stated precision the threshold is the lowest that reaches it on the held-out pictures;
printed is the recall there, and the masks a picture. Ground truth must show everything for that to mean much, which
COCO's does not.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from engine.encoded_samples import EncodedSamples
from engine.evaluation.matching import match_masks
from engine.masks.generator import MaskGenerator
from engine.samples import CocoSamples
from flows.allocator import keep_freed_memory
from model.detector_training import DetectorTraining, train_detector
from model.object_detector import CARD_FILE, DETECTOR_FOLDER, ObjectDetector, load_detector
from model.predictor import Predictor
from model.registry import model_roots
from model.storage import load_model
from model.training.samples import Sample
from schemas.config import SemiAutomaticConfig
from schemas.rle import Rle
from stages.prefill import PrefillSettings, scored_masks
from stages.prefill_threshold import choose_threshold

DATASETS = ("ccp/val", "labelmefacade/val", "bsds500/test", "coco_mini/val")
PRECISIONS = (0.8, 0.7, 0.6, 0.5)
CONFIG = SemiAutomaticConfig()

Found = list[tuple[Rle, float]]  # masks, best first, with their scores


def by_generator(predictor: Predictor) -> Callable[[Sample], Found]:
    generator = MaskGenerator(predictor, CONFIG.generator_config())

    def find(sample: Sample) -> Found:
        masks = sorted(generator.generate(sample.image).masks, key=lambda mask: -mask.predicted_iou)
        return [(mask.rle, mask.predicted_iou) for mask in masks[: CONFIG.max_prefilled_masks]]

    return find


def by_detector(predictor: Predictor, detector: ObjectDetector) -> Callable[[Sample], Found]:
    settings = PrefillSettings.of(CONFIG)

    def find(sample: Sample) -> Found:
        predictor.set_image(sample.image)
        return [(found.mask.rle, found.score) for found in scored_masks(predictor, detector, settings)]

    return find


def measure(find: Callable[[Sample], Found], samples: list[Sample]) -> list[str]:
    """Cells of a table: recall and masks a picture for each of PRECISIONS, seconds a picture."""
    scores: list[float] = []
    right: list[bool] = []
    objects, started = 0, time.perf_counter()
    for sample in samples:
        found = find(sample)
        truth = [Rle.of_coco(mask) for mask in sample.masks]
        scores += [score for _, score in found]
        right += match_masks([mask for mask, _ in found], truth)
        objects += len(truth)
    seconds = (time.perf_counter() - started) / len(samples)
    cells = []
    for precision in PRECISIONS:
        chosen = choose_threshold(scores, right, objects=objects, images=len(samples), precision=precision)
        cells.append(f"{chosen.recall or 0:.3f} / {chosen.masks / len(samples):.1f}")
    return [*cells, f"{seconds:.1f}"]


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the data sets.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Name or id of the model.")] = "nano",
    learn: Annotated[int, typer.Option(min=1, help="Pictures that are annotated.")] = 20,
    held_out: Annotated[int, typer.Option("--measure", min=1, help="Pictures that are held out.")] = 25,
    seed: Annotated[int, typer.Option(help="Of the choice of pictures, and of the training.")] = 0,
) -> None:
    """Print a table of the masks that a round would prefill."""
    keep_freed_memory()
    sam, info = load_model(model, model_roots())
    predictor, start_folder = Predictor(sam), info.folder / DETECTOR_FOLDER
    start = load_detector(start_folder)[0] if (start_folder / CARD_FILE).is_file() else None
    heads = ["data set", "masks from", *(f"at {precision}" for precision in PRECISIONS), "s / picture"]
    pictures = f"{learn} pictures annotated, {held_out} held out, seed {seed}"
    print(f"{info.name} ({info.model_id}), {pictures}; recall / masks a picture\n")
    for line in (heads, ["---"] * len(heads)):
        print("| " + " | ".join(line) + " |", flush=True)
    for name in DATASETS:
        samples = CocoSamples([data / f"{name}.json"])
        order = random.Random(seed).sample(range(len(samples)), learn + held_out)
        annotated = EncodedSamples([samples[index] for index in order[:learn]], predictor)
        rest = [samples[index] for index in order[learn:]]
        finders = {"generator": by_generator(predictor)}
        new = train_detector(annotated, DetectorTraining(seed=seed))
        finders["detector, from nothing"] = by_detector(predictor, new)
        if start is not None:
            finders["detector, as it ships"] = by_detector(predictor, start)
            further = train_detector(annotated, DetectorTraining.to_go_on(seed=seed), start=start)
            finders["detector, going on"] = by_detector(predictor, further)
        for method, find in finders.items():
            print("| " + " | ".join([name, method, *measure(find, rest)]) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
