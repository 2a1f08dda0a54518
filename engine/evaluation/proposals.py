"""Recall of masks that nobody prompted, best first: average recall as for object proposals (SAM paper, section 7.3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from engine import rle as rle_codec
from engine.evaluation.automatic import objects_of
from engine.evaluation.bootstrap import bootstrap_mean
from engine.evaluation.evaluations import Measured, Samples
from engine.evaluation.matching import matched_objects
from engine.masks.generator import MaskGenerator
from model.predictor import Predictor
from model.training.samples import Sample
from schemas.errors import InputError
from schemas.mask import Mask
from schemas.presets import GeneratorConfig
from schemas.problems import first_problem

Numbers = npt.NDArray[np.float64]
LIMITS = (10, 100, 1000)  # masks of a picture that count
IOUS: Numbers = np.linspace(0.5, 0.95, 10, dtype=np.float64)
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 10**10)}  # px, both ends included (COCO)
FREQUENCIES = {"frequent": "f", "common": "c", "rare": "r"}  # as LVIS has them in its categories


def proposals(
    predictor: Predictor,
    samples: Samples,
    /,
    *,
    points_per_side: int = 64,
    box_nms_thresh: float = 0.9,
    stability_score_offset: float = 1.0,
) -> Measured:
    """Average recall of the masks of a point grid, of all objects, by size, and by frequency where the file is LVIS's.

    No mask is filtered out; they are ranked by the mean of predicted IoU and stability score.
    """
    generator = MaskGenerator(predictor, _config(points_per_side, box_nms_thresh, stability_score_offset))
    recalls: dict[str, list[Numbers]] = {}
    masks = 0
    for sample in samples:
        found = ranked(generator.generate(sample.image).masks)[: max(LIMITS)]
        masks += len(found)
        for name, recall in recalls_of(rle_codec.iou_matrix([each.rle for each in found], objects_of(sample)), sample):
            recalls.setdefault(name, []).append(recall)
    return _measured({name: np.concatenate(of_group) for name, of_group in recalls.items()}, len(samples), masks)


def _config(points_per_side: int, box_nms_thresh: float, stability_score_offset: float) -> GeneratorConfig:
    try:
        return GeneratorConfig(
            points_per_side=points_per_side,
            box_nms_thresh=box_nms_thresh,
            stability_score_offset=stability_score_offset,
            pred_iou_thresh=0,
            stability_score_thresh=0,
        )
    except ValidationError as error:
        problem = first_problem(error)
        raise InputError(f"proposals: {problem.key}: {problem.message}, found {problem.found!r}") from error


def ranked(masks: Sequence[Mask]) -> list[Mask]:
    """Masks by the mean of predicted IoU and stability score, highest first."""
    return sorted(masks, key=lambda mask: -(mask.predicted_iou + mask.stability_score))


def recalls_of(overlaps: Numbers, sample: Sample) -> list[tuple[str, Numbers]]:
    """Each group of objects that a picture has, with `object_recalls` of them; overlaps: (M, N) of all its objects."""
    return [(name, object_recalls(overlaps[:, of_group])) for name, of_group in _groups(sample) if of_group.any()]


def object_recalls(overlaps: Numbers) -> Numbers:
    """(N, 3) the share of IoUs from .5 to .95 at which each of N objects is found by the first 10, 100, 1000 masks.

    overlaps: (M, N), IoU of masks, best first, and objects. The mean over objects is COCO's average recall.
    """
    at = np.full((len(IOUS), overlaps.shape[1]), np.inf)  # which mask finds it
    for row, iou in zip(at, IOUS, strict=True):
        close = np.flatnonzero((overlaps >= iou).any(axis=1))
        for mask, shown in zip(close, matched_objects(overlaps[close], iou=iou), strict=True):
            if shown is not None:
                row[shown] = mask
    return np.stack([(at < limit).mean(axis=0) for limit in LIMITS], axis=1)


def _groups(sample: Sample) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Names of groups with the objects (N,) that are in each."""
    areas = np.array([rle_codec.area(one) for one in objects_of(sample)])
    frequencies = np.array([facts.frequency for facts in sample.known_facts])
    groups: list[tuple[str, npt.NDArray[np.bool_]]] = [("all", np.ones(len(areas), dtype=bool))]
    groups += [(name, (areas >= least) & (areas <= most)) for name, (least, most) in SIZES.items()]
    groups += [(name, frequencies == letter) for name, letter in FREQUENCIES.items()]
    return groups


def _measured(recalls: Mapping[str, Numbers], pictures: int, masks: int) -> Measured:
    order = [name for name in ("all", *SIZES, *FREQUENCIES) if name in recalls]
    values = {name: _summary(recalls[name]) for name in order}
    return Measured(
        len(recalls["all"]),
        {"proposals": values, "pictures": pictures, "masks_per_image": masks / pictures},
        f"average recall of {masks / pictures:.0f} masks a picture, with 95 % interval",
        ("objects", "masks", *(f"AR@{limit}" for limit in LIMITS)),
        tuple((name, str(values[name]["objects"]), *map(_cell, list(values[name].values())[1:])) for name in order),
    )


def _summary(recalls: Numbers) -> dict[str, Any]:
    """Of (N, 3) recalls of N objects."""
    found: dict[str, Any] = {"objects": len(recalls)}
    for limit, values in zip(LIMITS, recalls.T, strict=True):
        low, high = bootstrap_mean(values)
        found[f"ar_{limit}"] = {"ar": float(values.mean()), "low": low, "high": high}
    return found


def _cell(value: Mapping[str, float]) -> str:
    return f"{value['ar']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
