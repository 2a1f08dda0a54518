"""Greedy box non-maximum suppression, number for number as torchvision does it on CPU."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def box_nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float) -> Tensor:
    """Indices (K,) int64 of the boxes to keep, best score first.

    boxes: (N, 4) XYXY; scores: (N,). A box goes if a better one that stays overlaps it by more than the threshold.
    Equal scores keep their order. Overlaps are float32 and compared in double precision: torchvision does so, and at a
    threshold like 0.6, which float32 rounds up, a pair that overlaps by exactly that much goes.
    """
    order = scores.sort(descending=True, stable=True).indices.cpu()
    x0, y0, x1, y1 = boxes.to(torch.float32).cpu()[order].numpy().T
    areas = (x1 - x0) * (y1 - y0)
    left: npt.NDArray[np.int64] = np.arange(len(order))  # places in `order` that nothing has suppressed yet
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        width = np.maximum(np.minimum(x1[best], x1[left]) - np.maximum(x0[best], x0[left]), 0)
        height = np.maximum(np.minimum(y1[best], y1[left]) - np.maximum(y0[best], y0[left]), 0)
        intersection = width * height
        union = areas[best] + areas[left] - intersection
        # Two boxes without area have no union: they do not suppress each other.
        overlap = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
        left = left[~(overlap.astype(np.float64) > iou_threshold)]
    return order[torch.as_tensor(np.array(kept, dtype=np.int64))]
