"""How clean masks are: their borders, the picture's edges, and islands.

A border is what Boundary IoU (Cheng et al., CVPR 2021) takes for one: the pixels of a mask near its contour.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engine.evaluation.boxes import prompt_boxes
from engine.evaluation.evaluations import Measured, Samples
from engine.evaluation.points import PROMPTS_AT_ONCE
from engine.evaluation.scores import mask_iou
from model.predictor import Predictor
from model.training.samples import Sample, decode_masks

Mask = npt.NDArray[np.bool_]
DILATION_FRAC = 0.02  # of the picture's diagonal, as published
EDGE_PX = 2
ISLAND_FRAC = 0.01  # of the mask


@dataclass(frozen=True)
class ShapeScores:
    """Of N masks, each compared with its ground truth.

    boundary_iou, island_frac: (N,) in [0, 1]. at_edge: (N,) bool, ground truth reaches an edge of the picture.
    stops_short, overshoots: (N,) bool, it reaches an edge that the mask does not, or the other way round.
    """

    boundary_iou: npt.NDArray[np.float64]
    island_frac: npt.NDArray[np.float64]
    at_edge: Mask
    stops_short: Mask
    overshoots: Mask

    def summary(self) -> dict[str, Any]:
        """Means; stops_short of the masks at an edge, None where there are none."""
        at_edge = self.stops_short[self.at_edge]
        return {
            "boundary_iou": float(self.boundary_iou.mean()),
            "island_frac": float(self.island_frac.mean()),
            "at_edge": int(self.at_edge.sum()),
            "stops_short": float(at_edge.mean()) if len(at_edge) else None,
            "overshoots": float(self.overshoots.mean()),
        }


def evaluate_shapes(predictor: Predictor, samples: Iterable[Sample]) -> ShapeScores | None:
    """Prompt every mask of every sample by its tight box and look at the mask with the highest predicted IoU.

    Returns None where there is no mask at all.
    """
    rows = []
    for sample in samples:
        if sample.masks:
            predictor.set_image(sample.image)
        for start in range(0, len(sample.masks), PROMPTS_AT_ONCE):
            decoded = decode_masks(sample.masks[start : start + PROMPTS_AT_ONCE]).astype(bool)
            truths = list(np.moveaxis(decoded, 2, 0))
            masks, predicted = prompt_boxes(predictor, truths)
            best = masks[np.arange(len(truths)), predicted.argmax(1)]
            rows += [_shape(mask, truth) for mask, truth in zip(best, truths, strict=True)]
    return ShapeScores(*map(np.array, zip(*rows, strict=True))) if rows else None


def shapes(predictor: Predictor, samples: Samples, /) -> Measured:
    """Borders, edges and islands of the masks that tight boxes give, as an evaluation."""
    found = evaluate_shapes(predictor, samples)
    summary = {} if found is None else found.summary()
    rows = tuple((name.replace("_", " "), _cell(value)) for name, value in summary.items())
    count = 0 if found is None else len(found.boundary_iou)
    return Measured(count, {"shapes": summary}, "shapes of masks from boxes", ("measure", "mean"), rows)


def boundary_iou(first: Mask, second: Mask, *, dilation_frac: float = DILATION_FRAC) -> float:
    """IoU of the borders of two masks (H, W); 0 where both are empty.

    dilation_frac: how wide a border is, of the picture's diagonal; at least one pixel.
    """
    width_px = max(1, round(dilation_frac * math.hypot(first.shape[0], first.shape[1])))
    return mask_iou(_border(first, width_px=width_px), _border(second, width_px=width_px))


def edges_reached(mask: Mask, *, within_px: int) -> tuple[bool, bool, bool, bool]:
    """Whether a mask (H, W) has pixels at most so far from the picture's left, top, right and bottom edge."""
    depth = within_px + 1
    parts = (mask[:, :depth], mask[:depth], mask[:, -depth:], mask[-depth:])
    left, top, right, bottom = (bool(part.any()) for part in parts)
    return left, top, right, bottom


def island_frac(mask: Mask, *, below_frac: float = ISLAND_FRAC) -> float:
    """Share of a mask (H, W) that lies in 8-connected parts of less than `below_frac` of it; 0 for an empty mask."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    whole = areas.sum()
    return float(areas[areas < below_frac * whole].sum() / whole) if whole else 0.0


def _cell(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


def _shape(mask: Mask, truth: Mask) -> tuple[float, float, bool, bool, bool]:
    """A row of `ShapeScores`. A mask reaches an edge from EDGE_PX on, ground truth where it touches it."""
    wanted, near = edges_reached(truth, within_px=0), edges_reached(truth, within_px=EDGE_PX)
    reached = edges_reached(mask, within_px=EDGE_PX)
    return (
        boundary_iou(mask, truth),
        island_frac(mask),
        any(wanted),
        any(want and not reach for want, reach in zip(wanted, reached, strict=True)),
        any(reach and not may for may, reach in zip(near, reached, strict=True)),
    )


def _border(mask: Mask, *, width_px: int) -> Mask:
    """The pixels of a mask that `width_px` erosions by a 3x3 square take; the picture's edge is a border too."""
    padded = np.pad(mask, 1).astype(np.uint8)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width_px)[1:-1, 1:-1]
    return mask & ~eroded.astype(bool)
