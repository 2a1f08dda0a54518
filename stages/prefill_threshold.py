"""Which prefilled masks people are shown: the lowest threshold at which the stated share can surely be kept."""

from typing import Any, Literal

import numpy.typing as npt

from engine.evaluation.matching import MATCH_IOU
from schemas.round_metrics import NOTHING_PASSES, PrefillThreshold
from stages.sure_threshold import sure_from

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
    """The lowest of N scores at and above which the share of right masks is surely not below `precision`.

    scores, right: (N,), of the masks of all images. Where no score will do, as where too few masks were measured, the
    threshold lets nothing through.
    """
    sure = sure_from(scores, right, precision=precision)
    return PrefillThreshold(
        threshold=NOTHING_PASSES if sure.threshold is None else sure.threshold,
        stated_precision=precision,
        precision=sure.right / sure.masks if sure.masks else None,
        recall=sure.right / objects if objects else None,
        masks=sure.masks,
        right=sure.right,
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
