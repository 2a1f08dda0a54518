"""How many questions of the verification gate a verifier saves, after so many answers, and how often it is right.

    python -m benchmarks.verifier DATA

Data sets are COCO files below the folder. Simulated: the masks, which a model makes of pictures with ground truth (by
its object detector, from a random click, from a box that is a little off), and the people, who call a mask good from
`--accept-iou` with an object on. Answers come from 60 % of the pictures of a data set, the next questions from the
others; both are drawn anew for each seed. Printed: of the next questions the share that the verifier answers, and how
many of its answers are right. It is trained on each data set by itself, as a workspace does.
"""

import platform
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import typer

from engine import rle as rle_codec
from engine.encoded_samples import rle_boxes
from engine.samples import CocoSamples
from flows.allocator import keep_freed_memory
from model.mask_features import mask_features
from model.mask_verifier import fit_verifier, out_of_fold_scores
from model.object_detector import DETECTOR_FOLDER, ObjectDetector, load_detector
from model.predictor import Predictor
from model.promptable import PromptedMasks
from model.registry import model_roots
from model.storage import load_model
from model.training.samples import Sample
from schemas.config import SemiAutomaticConfig
from schemas.rle import Rle
from stages.prefill import PrefillSettings, scored_masks
from stages.simulated_verifier import SimulatedVerifier
from stages.verifier_thresholds import choose_thresholds

DATASETS = ("ccp/val", "loop/field_plants/all", "loop/nuclei/all", "labelmefacade/val", "bsds500/val")
PRECISIONS = (0.9, 0.95)
ANSWERS = (50, 100, 200, 400)
LEARN_FRAC = 0.6
MASKS_EACH = 12  # of a picture, by the detector; as many from clicks and boxes together
LEAST_AREA_PX = 100
# Few boxes, to save time; unstable masks too, so that there is something to call bad.
SETTINGS = replace(PrefillSettings.of(SemiAutomaticConfig()), stability_score_thresh=0.5, max_boxes=30)


class Made(NamedTuple):
    """A mask with what the model says of it."""

    mask: Rle
    predicted_iou: float
    stability_score: float


class Questions(NamedTuple):
    """All masks of a data set. features: (N, D). good: what people say of them. pictures: which each is of."""

    features: torch.Tensor
    good: torch.Tensor
    pictures: np.ndarray

    def part(self, which: np.ndarray) -> "Questions":
        return Questions(self.features[which], self.good[which], self.pictures[which])


class Saved(NamedTuple):
    """Of `questions` those that were answered in people's place, and of these those that people answer alike."""

    questions: int
    answered: int
    right: int


def made_masks(
    predictor: Predictor, detector: ObjectDetector, sample: Sample, rng: np.random.Generator
) -> Iterator[Made]:
    """Masks of the picture that is set: by the detector, from clicks and from boxes."""
    found = [each.mask for each in scored_masks(predictor, detector, SETTINGS)]
    for place in rng.permutation(len(found))[:MASKS_EACH]:
        yield Made(found[place].rle, found[place].predicted_iou, found[place].stability_score)
    truth = truth_of(sample)
    large = [place for place, mask in enumerate(truth) if rle_codec.area(mask) >= LEAST_AREA_PX]
    chosen = rng.permutation(large)[:MASKS_EACH].astype(int)
    clicked, boxed = chosen[::2], chosen[1::2]
    if len(clicked):
        clicks = np.array([[click(truth[place], rng)] for place in clicked])
        yield from best_masks(predictor, predictor.prompt(clicks, np.ones((len(clicks), 1))))
    if len(boxed):
        boxes = rle_boxes([sample.masks[place] for place in boxed])
        sides = np.concatenate([boxes[:, 2:] - boxes[:, :2]] * 2, axis=1)
        yield from best_masks(predictor, predictor.prompt(boxes=boxes + 0.05 * sides * rng.normal(size=boxes.shape)))


def best_masks(predictor: Predictor, prompted: PromptedMasks) -> Iterator[Made]:
    """The mask of highest predicted IoU of each prompt."""
    predicted, best = prompted.predicted_iou.max(dim=1)
    logits = predictor.upscale(
        prompted.logits(torch.arange(len(best)) * prompted.predicted_iou.shape[1] + best)[:, None]
    )
    for of_prompt, iou in zip(logits[:, 0], predicted.tolist(), strict=True):
        if (of_prompt > 0).any():
            stability = float((of_prompt > 1).sum() / (of_prompt > -1).sum())
            yield Made(rle_codec.encode((of_prompt > 0).numpy()), iou, stability)


def click(mask: Rle, rng: np.random.Generator) -> tuple[float, float]:
    """(x, y) of a pixel of a mask."""
    inside = np.argwhere(rle_codec.decode(mask))
    y, x = inside[rng.integers(len(inside))]
    return float(x), float(y)


def truth_of(sample: Sample) -> list[Rle]:
    return [Rle.of_coco(mask) for mask in sample.masks]


def questions_of(
    samples: Sequence[Sample], predictor: Predictor, detector: ObjectDetector, people: SimulatedVerifier, seed: int
) -> Questions:
    features, good, pictures = [], [], []
    for number, sample in enumerate(samples):
        predictor.set_image(sample.image)
        made = list(made_masks(predictor, detector, sample, np.random.default_rng((seed, number))))
        if made:
            masks, predicted_iou, stability = zip(*made, strict=True)
            decoded = [rle_codec.decode(mask) for mask in masks]
            features.append(mask_features(predictor, decoded, predicted_iou, stability))
            good += [answer == "good" for answer in people.answers(masks, truth_of(sample))]
            pictures += [number] * len(made)
    return Questions(torch.cat(features), torch.tensor(good), np.array(pictures))


def saved(questions: Questions, answers: int, seed: int) -> dict[float, tuple[Saved, Saved]] | None:
    """For each precision what is saved by the answers good and bad; None where there are fewer answers than wanted."""
    rng = np.random.default_rng(seed)
    pictures = rng.permutation(np.unique(questions.pictures))
    learnt = np.isin(questions.pictures, pictures[: round(LEARN_FRAC * len(pictures))])
    if learnt.sum() < answers:
        return None
    learn = questions.part(rng.permutation(np.flatnonzero(learnt))[:answers])
    asked = questions.part(np.flatnonzero(~learnt))
    held_out = out_of_fold_scores(learn.features, learn.good, learn.pictures, seed=seed).numpy()
    scores = fit_verifier(learn.features, learn.good)(asked.features).tolist()
    found = {}
    for precision in PRECISIONS:
        thresholds = choose_thresholds(held_out, learn.good.numpy(), precision=precision)
        given = [thresholds.answer(score) for score in scores]
        sides = []
        for verdict in ("good", "bad"):
            right = [good == (verdict == "good") for one, good in zip(given, asked.good, strict=True) if one == verdict]
            sides.append(Saved(len(given), len(right), sum(map(bool, right))))
        found[precision] = (sides[0], sides[1])
    return found


def cell(runs: Sequence[Saved]) -> str:
    questions, answered, right = (sum(column) for column in zip(*runs, strict=True))
    return f"{answered / questions:.2f} ({right / answered:.3f})" if answered else "0"


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the data sets.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Name or id of the model.")] = "nano",
    pictures: Annotated[int, typer.Option(min=5, help="Of each data set, at most.")] = 30,
    accept_iou: Annotated[float, typer.Option(help="From which on people call a mask good.")] = 0.75,
    error_frac: Annotated[float, typer.Option(help="Of people's answers, that are wrong.")] = 0.0,
    seeds: Annotated[int, typer.Option(min=1, help="How often answers and questions are drawn.")] = 10,
) -> None:
    """Print a table of the questions that a verifier saves."""
    keep_freed_memory()
    sam, info = load_model(model, model_roots())
    predictor, detector = Predictor(sam), load_detector(info.folder / DETECTOR_FOLDER)[0]
    people = SimulatedVerifier(accept_iou, error_frac)
    print(
        f"{info.name} ({info.model_id}); {pictures} pictures a data set, {seeds} seeds; simulated people: good from "
        f"IoU {accept_iou}, {error_frac:.0%} wrong; {platform.machine()}, torch {torch.__version__}\n\n"
        "Share of the next questions that is answered (share of these answers that is right)\n"
    )
    heads = ["data set", "masks", "good", "answers"]
    heads += [f"{what} at {precision}" for precision in PRECISIONS for what in ("all", "good", "bad")]
    for line in (heads, ["---"] * len(heads)):
        print("| " + " | ".join(line) + " |", flush=True)
    started = time.process_time()
    for name in DATASETS:
        samples = CocoSamples([data / f"{name}.json"])
        chosen = random.Random(0).sample(range(len(samples)), min(pictures, len(samples)))
        questions = questions_of([samples[index] for index in chosen], predictor, detector, people, seed=0)
        for answers in ANSWERS:
            runs = [run for seed in range(seeds) if (run := saved(questions, answers, seed)) is not None]
            if runs:
                first = [name, str(len(questions.good)), f"{questions.good.float().mean():.2f}", str(answers)]
                cells = []
                for precision in PRECISIONS:
                    good, bad = ([run[precision][side] for run in runs] for side in (0, 1))
                    both = [
                        Saved(g.questions, g.answered + b.answered, g.right + b.right)
                        for g, b in zip(good, bad, strict=True)
                    ]
                    cells += [cell(both), cell(good), cell(bad)]
                print("| " + " | ".join([*first, *cells]) + " |", flush=True)
    print(f"\n{time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    typer.run(main)
