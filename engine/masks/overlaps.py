"""Overlaps of finished masks: near duplicates that box NMS does not see, and how much of the picture masks cover.

N masks of one picture as RLEs; none is ever brought to full size. Boxes are XYXY, inclusive, and enclose their masks.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from engine import rle
from schemas.errors import InputError
from schemas.rle import CocoRle, Rle


def mask_nms(rles: Sequence[Rle], boxes: Tensor, scores: Tensor, *, iou_threshold: float) -> Tensor:
    """Indices (K,) int64 of the masks to keep, best score first.

    boxes: (N, 4) XYXY, inclusive; scores: (N,). A mask goes if a better one that stays overlaps it by a mask IoU above
    the threshold; none does at 1. Equal scores keep their order. Pixels are compared only where boxes and areas allow
    an IoU above the threshold.
    Raises InputError if masks that are compared differ in size.
    """
    order = scores.sort(descending=True, stable=True).indices.cpu()
    ranked = [rles[index] for index in order.tolist()]
    corners, areas = boxes.cpu()[order].numpy(), mask_areas(ranked)
    left: npt.NDArray[np.int64] = np.arange(len(ranked))  # places in `order` that nothing has suppressed yet
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        shared = np.minimum(box_intersections(corners[best], corners[left]), np.minimum(areas[best], areas[left]))
        # At most this: IoU grows with the intersection. Rounded like the IoU itself, so that no pair slips through.
        suppressed = _ratio(shared, areas[best] + areas[left] - shared) > iou_threshold
        if suppressed.any():
            close = [ranked[place] for place in left[suppressed]]
            suppressed[suppressed] = rle.iou_matrix([ranked[best]], close)[0] > iou_threshold
        left = left[~suppressed]
    return order[torch.as_tensor(np.array(kept, dtype=np.int64))]


def coverage_frac(rles: Sequence[Rle]) -> float:
    """Share of the picture, in [0, 1], that lies in at least one mask; 0 without masks.

    Raises InputError if the masks differ in size.
    """
    if not rles:
        return 0.0
    union = coco_mask.merge(coco_rles(rles))
    return int(coco_mask.area(union)) / (rles[0].height * rles[0].width)


def mask_areas(rles: Sequence[Rle]) -> npt.NDArray[np.int64]:
    """(N,) foreground pixels."""
    # One by one: pycocotools 2.0.11 with numpy 2 fails on lists of more than 255.
    return np.array([coco_mask.area(one) for one in coco_rles(rles)], dtype=np.int64)


def box_intersections(box: npt.NDArray[np.int64], boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) pixels that a box (4,) shares with each of boxes (N, 4), all XYXY and inclusive."""
    width = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0]) + 1
    height = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1]) + 1
    return np.maximum(width, 0) * np.maximum(height, 0)


def coco_rles(rles: Sequence[Rle]) -> list[CocoRle]:
    """What pycocotools takes. Raises InputError for masks of several sizes, which it would take in silence."""
    sizes = {(one.height, one.width) for one in rles}
    if len(sizes) > 1:
        raise InputError(f"masks of one image have one size, these have {sorted(sizes)}")
    return [one.coco() for one in rles]


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """part / whole, 0 where both are: two masks without pixels."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
