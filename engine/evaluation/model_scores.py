"""How good a model is on one set of masks, by the three prompts that people start from: 1 click, 3 clicks, a box."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.evaluation.bootstrap import bootstrap_difference
from engine.evaluation.boxes import box_masks
from engine.evaluation.points import click_on_masks
from engine.evaluation.scores import PromptScores, joined
from model.predictor import Predictor
from model.training.samples import Sample

CLICKS = (1, 3)


@dataclass(frozen=True)
class ModelScores:
    """IoUs of N masks at 1 and 3 clicks, and from their boxes."""

    one_click: PromptScores
    three_clicks: PromptScores
    box: PromptScores

    def by_name(self) -> dict[str, npt.NDArray[np.float64]]:
        """(N,) IoUs by the names that reports have for their means."""
        return {
            "miou": self.one_click.confident,
            "miou_oracle": self.one_click.oracle,
            "miou_3": self.three_clicks.confident,
            "miou_box": self.box.confident,
        }

    def means(self) -> dict[str, float]:
        """mIoU by name, and how far the predicted IoU is off at 1 click (`PromptScores.predicted_iou_error`)."""
        means = {name: float(values.mean()) for name, values in self.by_name().items()}
        error = self.one_click.predicted_iou_error
        return means | ({} if error is None else {"iou_error": error})


def score_model(predictor: Predictor, samples: Iterable[Sample]) -> ModelScores | None:
    """Prompt every mask of every sample; None where there is no mask at all. A picture is encoded once."""
    one, three, box = [], [], []
    for sample in samples:
        if sample.masks:
            predictor.set_image(sample.image)
            points = click_on_masks(predictor, sample, clicks=CLICKS)
            one.append(points[1])
            three.append(points[3])
            box.append(box_masks(predictor, sample))
    return ModelScores(joined(one), joined(three), joined(box)) if box else None


def compare(before: ModelScores, after: ModelScores) -> dict[str, Any]:
    """For a report: of each score its mean before and after, and the paired 95 % interval of the change.

    Both are of the same masks in the same order.
    """
    means = before.means(), after.means()
    found: dict[str, Any] = {}
    for name in means[0]:
        found |= {f"{name}_before": means[0][name], f"{name}_after": means[1][name]}
    return found | dict(_changes(before, after))


def _changes(before: ModelScores, after: ModelScores) -> Iterator[tuple[str, tuple[float, float]]]:
    values = before.by_name(), after.by_name()
    for name in values[0]:
        yield f"{name}_change", bootstrap_difference(values[0][name], values[1][name])
