"""Pixels and sizes of masks, many at once."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform_points(regions: Tensor, *, uniform: Tensor) -> Tensor:
    """One pixel of each region, every pixel equally likely.

    regions: (N, H, W) bool, none empty. uniform: (N,) in [0, 1). Returns (N, 2).
    """
    flat = regions.flatten(1)
    ranks = flat.cumsum(1, dtype=torch.int32)
    drawn = (uniform * ranks[:, -1]).int()  # below the count: (1 - 2^-24) * count is rounded down, in float32 too
    index = torch.searchsorted(ranks, (drawn + 1)[:, None]).squeeze(1)
    return torch.stack([index % regions.shape[-1], index // regions.shape[-1]], 1).float()


def coverage(masks: Tensor, size: Sequence[int]) -> Tensor:
    """How much of each pixel of another size masks (N, S, S) cover: (N, h, w) in [0, 1]."""
    return F.adaptive_avg_pool2d(masks.float(), (size[0], size[1]))


def resize_masks(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Masks (N, S, S) bool at another size (N, h, w) bool: set where at least half of the pixel is covered."""
    return coverage(masks, size) >= 0.5
