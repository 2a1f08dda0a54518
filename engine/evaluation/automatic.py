"""Masks that nobody prompted, against ground truth: how many objects are found, and how many masks show one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.evaluation.matching import MATCH_IOU, match_masks
from engine.evaluation.scores import PromptScores
from engine.masks.generator import MaskGenerator
from model.training.samples import Sample
from schemas.rle import Rle

FindMasks = Callable[[npt.NDArray[np.uint8]], Sequence[Rle]]  # of a picture (H, W, 3), best first


@dataclass(frozen=True)
class AutomaticScores:
    """What was found on `images` images: of `masks` masks, `right` show one of the `objects`, each at most once.

    precision means something only where ground truth shows everything.
    """

    masks: int
    right: int
    objects: int
    images: int

    @property
    def precision(self) -> float:
        return self.right / self.masks if self.masks else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.objects if self.objects else 0.0

    @property
    def f_measure(self) -> float:
        """Harmonic mean of precision and recall: 2 right / (masks + objects)."""
        return 2 * self.right / (self.masks + self.objects) if self.masks + self.objects else 0.0

    @property
    def masks_per_image(self) -> float:
        return self.masks / self.images if self.images else 0.0

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        names = ("precision", "recall", "f_measure", "masks_per_image")
        return vars(self) | {name: getattr(self, name) for name in names}

    def __add__(self, other: "AutomaticScores") -> "AutomaticScores":
        counts = zip(vars(self).values(), vars(other).values(), strict=True)
        return AutomaticScores(*(mine + others for mine, others in counts))


NOTHING = AutomaticScores(0, 0, 0, 0)


def generated_by(generator: MaskGenerator) -> FindMasks:
    """A generator's masks, highest predicted IoU first."""

    def find(image: npt.NDArray[np.uint8]) -> list[Rle]:
        return [mask.rle for mask in sorted(generator.generate(image).masks, key=lambda mask: -mask.predicted_iou)]

    return find


def score_masks(masks: Sequence[Rle], objects: Sequence[Rle], *, iou: float = MATCH_IOU) -> AutomaticScores:
    """Masks of one image, best first."""
    return AutomaticScores(len(masks), sum(match_masks(masks, objects, iou=iou)), len(objects), 1)


def evaluate_automatic(find: FindMasks, samples: Iterable[Sample], *, iou: float = MATCH_IOU) -> AutomaticScores:
    """Find masks on every sample's picture; one that has an IoU of at least `iou` with an object shows it."""
    return sum((score_masks(find(sample.image), objects_of(sample), iou=iou) for sample in samples), NOTHING)


def main_object(sample: Sample) -> Sample:
    """The sample with its largest mask alone."""
    areas = [rle_codec.area(one) for one in objects_of(sample)]
    return Sample(sample.image, [sample.masks[int(np.argmax(areas))]])


def evaluate_main_objects(find: FindMasks, samples: Sequence[Sample]) -> PromptScores | None:
    """IoU of the largest mask of every sample with the automatic mask that is most like it, 0 where there is none.

    Nothing is chosen by the model, so confident and oracle are the same. Returns None where there is no sample.
    """
    mains = [main_object(sample) for sample in samples]
    best = [rle_codec.iou_matrix(find(main.image), objects_of(main)).max(initial=0.0) for main in mains]
    return PromptScores(np.array(best), np.array(best)) if best else None


def objects_of(sample: Sample) -> list[Rle]:
    """The masks of a sample as the engine has them."""
    return [Rle.of_coco(mask) for mask in sample.masks]
