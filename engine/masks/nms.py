"""Greedy box non-maximum suppression, number for number as torchvision does it on CPU."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Admit = Callable[[Tensor], Tensor]
ADMITTED_AT_ONCE = 32  # fewer: more calls; more: some that are looked at in vain, because they turn out to be covered


def box_nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, admit: Admit | None = None) -> Tensor:
    """Indices (K,) int64 of the boxes to keep, best score first.

    boxes: (N, 4) XYXY; scores: (N,). A box goes if a better one that stays overlaps it by more than the threshold.
    Equal scores keep their order. Overlaps are float32 and compared in double precision: torchvision does so, and at a
    threshold like 0.6, which float32 rounds up, a pair that overlaps by exactly that much goes.
    admit: says of boxes (M,) int64, best first, which may stay, (M,) bool; the result is as if all had been asked for
    beforehand, but it is asked only for boxes that no better one covers, or nearly so: some at a time.
    """
    order = scores.sort(descending=True, stable=True).indices.cpu()
    x0, y0, x1, y1 = boxes.to(torch.float32).cpu()[order].numpy().T
    areas = (x1 - x0) * (y1 - y0)
    left: npt.NDArray[np.int64] = np.arange(len(order))  # places in `order` that nothing has suppressed yet
    admitted = 0 if admit else len(left)  # of those in `left`, the first so many may stay
    kept = []
    while len(left):
        if admitted == 0 and admit is not None:
            asked, left = left[:ADMITTED_AT_ONCE], left[ADMITTED_AT_ONCE:]
            asked = asked[admit(order[torch.from_numpy(asked)]).numpy()]
            admitted, left = len(asked), np.concatenate([asked, left])
            continue
        best, left = left[0], left[1:]
        kept.append(best)
        width = np.maximum(np.minimum(x1[best], x1[left]) - np.maximum(x0[best], x0[left]), 0)
        height = np.maximum(np.minimum(y1[best], y1[left]) - np.maximum(y0[best], y0[left]), 0)
        intersection = width * height
        union = areas[best] + areas[left] - intersection
        # Two boxes without area have no union: they do not suppress each other.
        overlap = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
        stays = ~(overlap.astype(np.float64) > iou_threshold)
        admitted = int(np.count_nonzero(stays[: admitted - 1]))
        left = left[stays]
    return order[torch.as_tensor(np.array(kept, dtype=np.int64))]
