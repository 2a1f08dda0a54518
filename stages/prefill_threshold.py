"""Which prefilled masks people are shown: the lowest threshold at which the stated share of masks can be kept."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.evaluation.matching import MATCH_IOU

NOTHING_PASSES = 2.0  # a threshold above every score
# Where the stated precision is out of reach, masks are shown at this one or not at all: to look at, mend or delete more
# masks than can be kept costs people more than it saves them.
LEAST_KEPT = 0.5

NOTHING_PREFILLED = (
    "nothing is prefilled; lower semi_automatic.prefill_precision, or set semi_automatic.prefill to generator"
)

MeasuredOn = Literal["holdout", "training_fifth"]


@dataclass(frozen=True)
class PrefillThreshold:
    """The threshold for a stated precision, and what was measured with it.

    masks: of `images` images, those at or above the threshold; right: of these, those that show one of the `objects`,
    each shown at most once, at `iou`. precision: right / masks, None without masks; recall: right / objects, None
    without objects. measured_on: images held out, or, where there are none with ground truth, a random fifth of those
    with masks, which the detector then did not learn from.
    """

    threshold: float
    stated_precision: float
    precision: float | None
    recall: float | None
    masks: int
    right: int
    objects: int
    images: int
    iou: float
    measured_on: MeasuredOn

    @property
    def reached(self) -> bool:
        """Whether any threshold has the stated precision; if not, nothing is prefilled."""
        return self.threshold < NOTHING_PASSES

    def summary(self, nothing: str = NOTHING_PREFILLED) -> str:
        """One line for people. nothing: what follows where no threshold has the stated precision, and the way out."""
        where = "held-out images" if self.measured_on == "holdout" else "images with masks that were set aside"
        if not self.reached:
            return (
                f"no threshold has precision {self.stated_precision:g} at IoU {self.iou:g} on {self.images} {where}: "
                f"{nothing}"
            )
        recall = "" if self.recall is None else f", recall {self.recall:.2f}"
        precision = f"precision {self.precision:.2f} at IoU {self.iou:g}"
        return f"threshold {self.threshold:.3f}: {precision}{recall} on {self.images} {where}"


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
