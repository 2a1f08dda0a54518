"""Which masks show which objects."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from schemas.rle import Rle

MATCH_IOU = 0.5  # a mask shows an object from this IoU with it on


def match_masks(masks: Sequence[Rle], objects: Sequence[Rle], *, iou: float = MATCH_IOU) -> list[bool]:
    """Which masks, best first, show an object: each takes the free object that it overlaps most, at `iou` or more."""
    return match_overlaps(rle_codec.iou_matrix(masks, objects), iou=iou)


def match_overlaps(overlaps: npt.NDArray[np.float64], *, iou: float = MATCH_IOU) -> list[bool]:
    """The same where the IoU of masks and objects (M, N) is known."""
    return [index is not None for index in matched_objects(overlaps, iou=iou)]


def matched_objects(overlaps: npt.NDArray[np.float64], *, iou: float = MATCH_IOU) -> list[int | None]:
    """The object that each mask shows, None for none; of equal overlaps the last, as pycocotools takes them."""
    free = overlaps.copy()
    found: list[int | None] = []
    for row in free:
        best = len(row) - 1 - int(row[::-1].argmax()) if len(row) else 0
        found.append(best if len(row) and row[best] >= iou else None)
        if found[-1] is not None:
            free[:, best] = -1.0
    return found
