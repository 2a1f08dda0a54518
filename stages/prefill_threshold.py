"""Which prefilled masks people are shown: the lowest threshold at which the stated share of masks can be kept."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.evaluation.matching import MATCH_IOU
from schemas.round_metrics import NOTHING_PASSES, PrefillThreshold

# Where the stated precision is out of reach, masks are shown at this one or not at all: to look at, mend or delete more
# masks than can be kept costs people more than it saves them.
LEAST_KEPT = 0.5

MeasuredOn = Literal["holdout", "training_fifth"]


def choose_threshold(
    scores: npt.ArrayLike,
    right: npt.ArrayLike,
    *,
    objects: int,
    images: int,
    precision: float,
    iou: float = MATCH_IOU,
    measured_on: MeasuredOn = "holdout",
) -> PrefillThreshold:
    """The lowest of N scores at which at least the share `precision` of the masks at or above it is right.

    scores, right: (N,), of the masks of all images. Where no score will do, the threshold lets nothing through.
    """
    values, hits = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    order = np.argsort(-values, kind="stable")
    ranked, right_so_far = values[order], hits[order].cumsum()
    # Masks of equal score pass together.
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, dtype=np.int64)
    enough = ends[right_so_far[ends] / (ends + 1) >= precision]
    masks = int(enough[-1]) + 1 if len(enough) else 0
    n_right = int(right_so_far[masks - 1]) if masks else 0
    return PrefillThreshold(
        threshold=float(ranked[masks - 1]) if masks else NOTHING_PASSES,
        stated_precision=precision,
        precision=n_right / masks if masks else None,
        recall=n_right / objects if objects else None,
        masks=masks,
        right=n_right,
        objects=objects,
        images=images,
        iou=iou,
        measured_on=measured_on,
    )


def choose_or_half(
    scores: npt.ArrayLike, right: npt.ArrayLike, *, precision: float, **measured: Any
) -> PrefillThreshold:
    """As `choose_threshold`, at LEAST_KEPT where a higher precision is out of reach."""
    chosen = choose_threshold(scores, right, precision=precision, **measured)
    if chosen.reached or precision <= LEAST_KEPT:
        return chosen
    return choose_threshold(scores, right, precision=LEAST_KEPT, **measured)
