"""Boxes of masks on the accelerator, and what is counted on boxes; `engine.rle.box` has that of an RLE."""

import torch
from torch import Tensor


def mask_boxes(masks: Tensor) -> Tensor:
    """Boxes (N, 4) int64 XYXY of (N, H, W) bool masks, inclusive: first and last column and row with foreground.

    This is how SA-1B counts boxes; COCO's x + w and y + h are one larger (see `engine.rle.box`).
    An empty mask has the box (0, 0, 0, 0).
    """
    rows, columns = masks.any(dim=2).byte(), masks.any(dim=1).byte()
    left, top = columns.argmax(dim=1), rows.argmax(dim=1)
    right = columns.shape[1] - 1 - columns.flip(1).argmax(dim=1)
    bottom = rows.shape[1] - 1 - rows.flip(1).argmax(dim=1)
    filled = rows.any(dim=1)
    return torch.stack([left, top, right, bottom], dim=1) * filled[:, None]


def box_area(boxes: Tensor) -> Tensor:
    """Areas (N,) of boxes (N, 4) XYXY, in the boxes' own type."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
