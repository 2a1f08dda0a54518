"""What an evaluation measures of masks that were prompted: shared by points, boxes and baselines."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.evaluation.bootstrap import bootstrap_mean


@dataclass(frozen=True)
class PromptScores:
    """IoU of every mask for one kind of prompt.

    confident, oracle: (N,) in [0, 1], of the mask with the highest predicted IoU and of the best that was offered.
    predicted: (N,), the IoU that the model predicted for its confident mask; None for what predicts none.
    """

    confident: npt.NDArray[np.float64]
    oracle: npt.NDArray[np.float64]
    predicted: npt.NDArray[np.float64] | None = None

    @property
    def confident_miou(self) -> float:
        return float(self.confident.mean())

    @property
    def oracle_miou(self) -> float:
        return float(self.oracle.mean())

    def found_frac(self, iou: float) -> float:
        """Share of the masks of which the confident answer has at least this IoU."""
        return float((self.confident >= iou).mean())

    @property
    def predicted_iou_error(self) -> float | None:
        """Mean absolute difference between the IoU that the model predicted and the one it reached."""
        return None if self.predicted is None else float(np.abs(self.predicted - self.confident).mean())

    def summary(self) -> dict[str, Any]:
        """mIoU of both choices with the bounds of its 95 % bootstrap interval, for JSON."""
        found: dict[str, Any] = {}
        for name, values in (("confident", self.confident), ("oracle", self.oracle)):
            low, high = bootstrap_mean(values)
            found[name] = {"miou": float(values.mean()), "low": low, "high": high}
        if self.predicted is not None:
            found["predicted_iou_error"] = self.predicted_iou_error
        return found


def mask_iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """IoU of two masks (H, W); 0 where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def joined(parts: list[PromptScores]) -> PromptScores:
    """Scores of several pictures as one."""
    predicted = [part.predicted for part in parts if part.predicted is not None]
    return PromptScores(
        np.concatenate([part.confident for part in parts]),
        np.concatenate([part.oracle for part in parts]),
        np.concatenate(predicted) if predicted else None,
    )
