"""Masks of words: everything in a picture that a label says, and the one thing at a point that it says."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco_mask

from engine.evaluation.bootstrap import bootstrap_mean
from engine.evaluation.evaluations import Measured, Samples
from engine.evaluation.mask_prompts import as_mask_inputs
from engine.evaluation.points import PROMPTS_AT_ONCE
from engine.evaluation.scores import mask_iou
from engine.labelled_masks import masks_by_label
from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from model.text_prompts import FoundText, usual_text
from model.training.samples import Sample, decode_masks
from schemas.errors import InputError

Mask = npt.NDArray[np.bool_]
# In the order of the table, each with what it says of itself there.
WAYS = {
    "text": "its label",
    "other_text": "another label of the data set",
    "random_point": "a random point, no text",
    "oracle": "the true mask, of the same masks (oracle)",
}
POINT_WAYS = {
    "point": "a point of it",
    "point_text": "the point and its label",
    "point_other_text": "the point and another label",
    "point_oracle": "the point, best of three (oracle)",
}


@dataclass
class _Scores:
    """IoU by way, of pairs of picture and label; which labels those were; how likely labels seemed to be there."""

    ious: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    point_ious: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    labels: list[str] = field(default_factory=list)
    there: list[float] = field(default_factory=list)
    not_there: list[float] = field(default_factory=list)


def text(predictor: Predictor, samples: Samples, /, *, min_area: int = 100, first: int = 0, seed: int = 0) -> Measured:
    """mIoU over pairs of a picture and a label in it, and over single masks at a random point of each.

    min_area: of a label's masks together, in pixels, and of a single mask. first: so many pictures, 0 for all.
    Raises InputError where masks have no labels, or the model has no text head.
    """
    rng, scores = np.random.default_rng(seed), _Scores()
    every = sorted({usual_text(label) for label in samples.labels() if label.strip()})
    if not every:
        raise InputError("no mask has a label; this evaluation needs COCO files with labels or categories")
    known = set(predictor.text.words) if predictor.text else set()
    for sample in samples.first(first) if first else samples:
        predictor.set_image(sample.image)
        found = masks_by_label(sample)
        truths = {label: _decoded(rle) for label, rle in found.items() if coco_mask.area(rle) >= min_area}
        absent = [label for label in every if label not in found]
        if truths:
            _add_labels(predictor, truths, every, absent, rng, scores)
        _add_points(predictor, sample, every, min_area, rng, scores)
    if not scores.labels:
        raise InputError(f"no label has {min_area} px or more in any picture; lower min_area")
    return _measured(scores, known)


def _add_labels(
    predictor: Predictor,
    truths: dict[str, Mask],
    every: Sequence[str],
    absent: Sequence[str],
    rng: np.random.Generator,
    scores: _Scores,
) -> None:
    labels, masks = list(truths), list(truths.values())
    others = [_other(label, every, rng) for label in labels]
    height, width = predictor.image_hw
    points = [[(rng.uniform(0, width), rng.uniform(0, height))] for _ in labels]
    truth = as_mask_inputs(predictor, masks).to(predictor.device)
    asked = {
        "text": predictor.predict_texts(labels),
        "other_text": predictor.predict_texts(others),
        "random_point": predictor.predict_low_res(points, [[1]] * len(labels)),
        "oracle": predictor.unite(FoundText(truth, torch.ones(len(truth)))),
    }
    for way, low_res in asked.items():
        scores.ious[way] += _ious(_confident(predictor, low_res), masks)
    scores.labels += labels
    scores.there += predictor.find_texts(labels).is_there.tolist()
    if absent:
        scores.not_there += predictor.find_texts(absent).is_there.tolist()


def _add_points(
    predictor: Predictor, sample: Sample, every: Sequence[str], min_area: int, rng: np.random.Generator, scores: _Scores
) -> None:
    """One point in each mask of a label, of masks that are large enough."""
    facts = zip(sample.masks, sample.known_facts, strict=True)
    large = [(rle, each.label) for rle, each in facts if each.label.strip() and coco_mask.area(rle) >= min_area]
    for start in range(0, len(large), PROMPTS_AT_ONCE):
        _add_some_points(predictor, large[start : start + PROMPTS_AT_ONCE], every, rng, scores)


def _add_some_points(
    predictor: Predictor,
    chosen: Sequence[tuple[Any, str]],
    every: Sequence[str],
    rng: np.random.Generator,
    scores: _Scores,
) -> None:
    labels = [usual_text(label) for _, label in chosen]
    masks = [_decoded(rle) for rle, _ in chosen]
    points, ones = [[_pixel_of(mask, rng)] for mask in masks], [[1]] * len(masks)
    three = predictor.predict_low_res(points, ones)
    each_ious = np.array([_ious(_shown(predictor, three, column), masks) for column in range(three.logits.shape[1])])
    best = three.predicted_iou.argmax(1).cpu().numpy()
    scores.point_ious["point"] += each_ious[best, np.arange(len(masks))].tolist()
    scores.point_ious["point_oracle"] += each_ious.max(0).tolist()
    others = [_other(label, every, rng) for label in labels]
    for way, texts in (("point_text", labels), ("point_other_text", others)):
        chosen_masks = predictor.find_texts(texts).best(three)  # as `predict_texts` does, without decoding again
        scores.point_ious[way] += _ious(_confident(predictor, chosen_masks), masks)


def _measured(scores: _Scores, known: set[str]) -> Measured:
    seen = np.array([label in known for label in scores.labels])
    values: dict[str, Any] = {"labels": len(set(scores.labels)), "pairs": len(scores.labels)}
    rows: list[tuple[str, ...]] = []
    for name, which in (("labels it learned", seen), ("labels it never saw", ~seen)):
        if which.any():
            values[name.replace(" ", "_")] = {
                way: _interval(np.array(scores.ious[way])[which], rows, name, said) for way, said in WAYS.items()
            }
    values["points"] = {
        way: _interval(np.array(scores.point_ious[way]), rows, "single masks", said) for way, said in POINT_WAYS.items()
    }
    values["is_there"] = {"true": _share(scores.there), "false": _share(scores.not_there)}
    note = f"taken to be in the picture: {_percent(scores.there)} of the labels that are, " + (
        f"{_percent(scores.not_there)} of those that are not"
    )
    columns = ("masks of", "asked by", "number", "mIoU", "95 %")
    return Measured(len(scores.labels), values, "masks of words", columns, tuple(rows), (note,))


def _interval(ious: npt.NDArray[np.float64], rows: list[tuple[str, ...]], name: str, said: str) -> dict[str, float]:
    low, high = bootstrap_mean(ious)
    rows.append((name, said, str(len(ious)), f"{ious.mean():.3f}", f"{low:.3f} to {high:.3f}"))
    return {"miou": float(ious.mean()), "low": low, "high": high}


def _share(chances: Sequence[float]) -> float | None:
    return float(np.mean(np.array(chances) >= 0.5)) if chances else None


def _percent(chances: Sequence[float]) -> str:
    share = _share(chances)
    return "none" if share is None else f"{share:.0%}"


def _other(label: str, every: Sequence[str], rng: np.random.Generator) -> str:
    others = [each for each in every if each != label]
    return others[rng.integers(len(others))] if others else label


def _pixel_of(mask: Mask, rng: np.random.Generator) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    at = rng.integers(len(rows))
    return float(columns[at]) + 0.5, float(rows[at]) + 0.5


def _decoded(rle: Any) -> Mask:
    return decode_masks([rle])[:, :, 0].astype(bool)


def _confident(predictor: Predictor, low_res: MaskPrediction) -> Mask:
    """(N, H, W) of the masks with the highest predicted IoU."""
    best = low_res.predicted_iou.argmax(1)
    logits = low_res.logits[range(len(best)), best]
    return _upscaled(predictor, logits)


def _shown(predictor: Predictor, low_res: MaskPrediction, column: int) -> Mask:
    return _upscaled(predictor, low_res.logits[:, column])


def _upscaled(predictor: Predictor, logits: Any) -> Mask:
    shown: Mask = (predictor.upscale(logits[:, None])[:, 0] > predictor.sam.mask_threshold).cpu().numpy()
    return shown


def _ious(masks: Mask, truths: Sequence[Mask]) -> list[float]:
    return [mask_iou(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
