"""Which mask lies inside which: parts of things, things of groups."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from torch import Tensor

from engine.masks.overlaps import box_intersections, coco_rles, mask_areas
from schemas.rle import CocoRle, Rle

_NOBODY = -1


def parents(rles: Sequence[Rle], boxes: Tensor, *, containment: float = 0.95) -> list[int | None]:
    """For each of N masks of a picture the index of its parent: the smallest mask that contains it, None if none does.

    boxes: (N, 4) XYXY, inclusive. A mask contains another if it has more pixels and holds at least the share
    `containment` of the other's; of equally small ones the first is the parent. A parent is always larger than its
    child, so there are no cycles; masks of equal area are nobody's parent among themselves, nor is anything the parent
    of an empty mask.
    Raises ValueError if containment is not in (0, 1], InputError if the masks differ in size.
    """
    if not 0 < containment <= 1:
        raise ValueError(f"containment must be above 0 and at most 1, found {containment}")
    given, areas, corners = coco_rles(rles), mask_areas(rles), boxes.cpu().numpy()
    found: npt.NDArray[np.int64] = np.full(len(given), _NOBODY)
    for parent in np.argsort(areas, kind="stable"):  # the smallest first: the first that contains a mask is its parent
        children = np.flatnonzero((found == _NOBODY) & (areas < areas[parent]) & (areas > 0))
        # Those whose boxes allow it; rounded like the share itself, so that no child is missed.
        shared = box_intersections(corners[parent], corners[children])
        children = children[shared / areas[children] >= containment]
        if len(children):
            shares = _shares_inside([given[child] for child in children], given[parent])
            found[children[shares >= containment]] = parent
    return [None if parent == _NOBODY else parent for parent in found.tolist()]


def _shares_inside(masks: list[CocoRle], other: CocoRle) -> npt.NDArray[np.float64]:
    """(M,) the share of each mask's pixels that lies in the other: COCO's overlap with a region of a crowd."""
    return np.asarray(coco_mask.iou(masks, [other], [1]), dtype=np.float64)[:, 0]
