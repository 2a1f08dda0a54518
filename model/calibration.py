"""Predicted IoUs that mean what they say: the last layer of the IoU head is bent to what masks really reached.

The head's first output belongs to the single mask that answers several prompts, its other three to the masks that
answer one. Each of the two kinds gets one line, fitted to predictions and true IoUs. Lines with a rising slope change
no order, so the model offers the same masks as before; and they fold into the weights, so that there is nothing to
apply anywhere else.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.sam import Sam

MIN_PAIRS = 20  # fewer fit a line to chance
_MIN_SLOPE = 0.3  # less would take from a head that knows little here what it may learn to tell apart
_ROUNDS, _CLOSE = 50, 1e-3


@dataclass(frozen=True)
class Line:
    """calibrated = slope * predicted + intercept."""

    slope: float = 1.0
    intercept: float = 0.0


def fit_line(predicted: npt.NDArray[np.float64], reached: npt.NDArray[np.float64]) -> Line:
    """The line of least absolute error from predicted to true IoUs, both (N,), with a slope above 0.

    Found by least squares with weights 1 / error, repeated. The identity where there are under MIN_PAIRS pairs.
    """
    if len(predicted) < MIN_PAIRS:
        return Line()
    weights = np.ones(len(predicted))
    line = Line()
    for _ in range(_ROUNDS):
        line = _least_squares(predicted, reached, weights)
        errors = np.abs(line.slope * predicted + line.intercept - reached)
        weights = 1 / np.maximum(errors, _CLOSE)
    return line


@torch.no_grad()
def apply_lines(sam: Sam, *, single: Line, multiple: Line) -> None:
    """Fold both lines into the last layer of the IoU head, in place: the same model with other predicted IoUs."""
    last: Any = sam.mask_decoder.iou_prediction_head.layers[-1]
    lines = [single] + [multiple] * (len(last.bias) - 1)
    slopes = last.bias.new_tensor([line.slope for line in lines])
    last.weight.mul_(slopes[:, None])
    last.bias.mul_(slopes).add_(last.bias.new_tensor([line.intercept for line in lines]))


def _least_squares(
    predicted: npt.NDArray[np.float64], reached: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> Line:
    normalised = weights / weights.sum()
    means = float(normalised @ predicted), float(normalised @ reached)
    spread = float(normalised @ (predicted - means[0]) ** 2)
    together = float(normalised @ ((predicted - means[0]) * (reached - means[1])))
    slope = max(together / spread if spread else 0.0, _MIN_SLOPE)
    return Line(slope, means[1] - slope * means[0])
