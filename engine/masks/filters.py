"""The filters of the mask generator. Each says which masks stay, and by its name why the others went.

N masks. Filters work in whatever type they are given: thresholds are compared as the published code does, because a
mask on the threshold must not change sides.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from engine.masks.crops import Crop

# Every reason a mask can be dropped for, in the order in which the generator applies them. Stability and area are those
# of masks that no better one covers: most duplicates are never measured, and count as duplicates.
REASONS = (
    "predicted_iou",
    "empty",
    "crop_edge",
    "stability",
    "full_image",
    "duplicate_within_crop",
    "duplicate_across_crops",
    "small_region",
    "duplicate_after_cleaning",
    "duplicate_mask",
)
CROP_EDGE_PX = 20.0


class Verdict(NamedTuple):
    """keep: (N,) bool. reason: one of REASONS, for the masks that go."""

    keep: Tensor
    reason: str


def by_predicted_iou(predicted_iou: Tensor, *, threshold: float) -> Verdict:
    """Keep masks whose predicted IoU (N,) is above the threshold; all of them at threshold 0."""
    keep = predicted_iou > threshold if threshold > 0 else torch.ones_like(predicted_iou, dtype=torch.bool)
    return Verdict(keep, "predicted_iou")


def stability_score(mask_logits: Tensor, *, threshold: float = 0.0, offset: float = 1.0) -> Tensor:
    """How little each mask changes when its threshold moves (SAM paper, section 4).

    mask_logits: (N, H, W), unnormalised.
    Returns (N,) float32 in [0, 1]: IoU of the masks at threshold + offset and threshold - offset; 0 where both are
    empty.
    Raises ValueError if offset < 0.
    """
    if offset < 0:
        raise ValueError(f"offset must not be negative, found {offset}")
    intersection = (mask_logits > threshold + offset).sum(dim=(1, 2))
    union = (mask_logits > threshold - offset).sum(dim=(1, 2))
    return stability_of_counts(intersection, union)


def stability_of_counts(intersection: Tensor, union: Tensor) -> Tensor:
    """The stability score (N,) float32 of masks with so many pixels, (N,) int64, at threshold + offset and - offset."""
    return torch.where(union > 0, intersection / union, 0.0)


def by_stability(score: Tensor, *, threshold: float) -> Verdict:
    """Keep masks whose stability score (N,) is at least the threshold (predicted IoU must be above its own)."""
    return Verdict(score >= threshold, "stability")


def by_emptiness(empty: Tensor) -> Verdict:
    """Keep masks that have at least one pixel; empty: (N,) bool."""
    return Verdict(~empty, "empty")


def by_area_frac(area: Tensor, *, image_area: int, max_area_frac: float) -> Verdict:
    """Keep masks with area (N,) below that share of the image; all of them at 1 (SAM paper, appendix B: 0.95)."""
    keep = area < max_area_frac * image_area if max_area_frac < 1 else torch.ones_like(area, dtype=torch.bool)
    return Verdict(keep, "full_image")


def by_crop_edge(boxes: Tensor, crop: Crop, *, image_hw: tuple[int, int], within_px: float = CROP_EDGE_PX) -> Verdict:
    """Drop masks that a crop may have cut: a side of the box lies near that side of the crop, not of the image.

    boxes: (N, 4) XYXY in pixels of the image. Near is at most `within_px` away.
    """
    height, width = image_hw
    sides = boxes.to(torch.float32)
    near_crop = (sides - sides.new_tensor(crop.box)).abs() <= within_px
    near_image = (sides - sides.new_tensor((0, 0, width, height))).abs() <= within_px
    return Verdict(~(near_crop & ~near_image).any(dim=1), "crop_edge")
