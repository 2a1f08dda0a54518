"""Masks as first prompts: what a user or another model hands in is the true mask only nearly.

Shapes: N masks, S side of the square input, (h, w) side of the decoder's logits.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model.training.regions import coverage, uniform_points

DRAWS = 9  # random numbers a mask
_BLURS_PX = (1, 3, 9)  # of the decoder's logits; a box filter run twice
_LEVELS = (0.25, 0.75)  # of coverage; below a half a blurred mask grows, above it shrinks
_SHARPNESS = (2.0, 40.0)
# What `nano` itself says: 3 inside and -24 outside of a mask (medians), because the focal loss weighs both apart.
_INSIDE, _OUTSIDE = (2.0, 15.0), (4.0, 40.0)
_PATCH_FRAC = (0.1, 0.6)  # of the side of a square as large as the mask


def degraded_masks(masks: Tensor, size: Sequence[int], *, uniform: Tensor) -> Tensor:
    """Logits (N, h, w) that nearly show masks (N, S, S) bool: grown, shrunk, blurred, with a hole or a patch added.

    uniform: (N, DRAWS) in [0, 1). A third of the masks gets a hole, a third a patch; none loses its last pixel.
    """
    covered = coverage(masks, size)
    blurred = torch.stack([_blur(covered, kernel_px=kernel) for kernel in _BLURS_PX])
    rows = torch.arange(len(masks), device=masks.device)
    chosen = blurred[(uniform[:, 0] * len(_BLURS_PX)).long(), rows]
    # A mask of a few pixels blurs to less than any level: its brightest pixel stays.
    level = _between(_LEVELS, uniform[:, 1]).minimum(0.8 * chosen.flatten(1).amax(1))
    sharpness = _log_between(_SHARPNESS, uniform[:, 2])
    shown = ((chosen - level[:, None, None]) * sharpness[:, None, None]).clamp(-1, 1)
    shown = _patched(shown, uniform[:, 5:9])
    inside, outside = _log_between(_INSIDE, uniform[:, 3]), _log_between(_OUTSIDE, uniform[:, 4])
    return shown * torch.where(shown > 0, inside[:, None, None], outside[:, None, None])


def _patched(shown: Tensor, uniform: Tensor) -> Tensor:
    """With a rectangle around one of the mask's own pixels set to background, to foreground, or not at all."""
    inside = shown > 0
    centres = uniform_points(inside, uniform=uniform[:, 1])
    sides = inside.flatten(1).sum(1).sqrt()[:, None] * _between(_PATCH_FRAC, uniform[:, 2:4])
    columns = (torch.arange(shown.shape[2], device=shown.device) - centres[:, :1]).abs() <= sides[:, :1] / 2
    rows = (torch.arange(shown.shape[1], device=shown.device) - centres[:, 1:]).abs() <= sides[:, 1:] / 2
    patch = rows[:, :, None] & columns[:, None, :]
    kind = (uniform[:, 0] * 3).long()
    hole = (kind == 0) & (inside & ~patch).flatten(1).any(1)
    shown = torch.where(patch & hole[:, None, None], -1.0, shown)
    return torch.where(patch & (kind == 1)[:, None, None], 1.0, shown)


def _blur(masks: Tensor, *, kernel_px: int) -> Tensor:
    """(N, h, w); what lies beyond the edge is taken to be as the edge is."""
    for _ in range(2):
        padded = F.pad(masks, (kernel_px // 2,) * 4, mode="replicate")
        masks = F.avg_pool2d(padded, kernel_px, stride=1)
    return masks


def _between(bounds: tuple[float, float], uniform: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * uniform


def _log_between(bounds: tuple[float, float], uniform: Tensor) -> Tensor:
    return bounds[0] * (bounds[1] / bounds[0]) ** uniform
