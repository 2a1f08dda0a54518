"""The simulated annotator of SAM's training (paper, appendix A): first a point or a box, then corrections.

Shapes: N masks over all pictures of a batch, S side of the square input, (h, w) side of the decoder's logits.
Points are (x, y) in pixels of the square input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from model.prompt_encoder import BOX_CORNERS, NOT_A_POINT

BOX_NOISE_FRAC = 0.1
BOX_NOISE_MAX_PX = 20.0

RoundKind = Literal["first", "point", "mask_only"]


def plan_rounds(*, correction_points: int, mask_only_rounds: bool, generator: torch.Generator) -> list[RoundKind]:
    """Kinds of the rounds of one step: with 8 correction points and mask-only rounds, the paper's eleven.

    One mask-only round comes last and one at a random place among the correction points.
    """
    rounds: list[RoundKind] = ["point"] * correction_points
    if mask_only_rounds and correction_points:
        rounds.insert(int(torch.randint(correction_points, (), generator=generator)), "mask_only")
        rounds.append("mask_only")
    return ["first", *rounds]


@dataclass(frozen=True)
class Prompts:
    """What has been asked of each mask: coords (N, P, 2), labels (N, P) as `PromptEncoder.embed_points` reads them."""

    coords: Tensor
    labels: Tensor

    def add(self, points: Tensor, labels: Tensor) -> "Prompts":
        """With one more point each: points (N, 2), labels (N,)."""
        return Prompts(torch.cat([self.coords, points[:, None]], 1), torch.cat([self.labels, labels[:, None]], 1))


def first_prompts(masks: Tensor, *, box_prob: float, generator: torch.Generator) -> Prompts:
    """A point or a noisy box for each mask, each in two tokens: a point and its padding, or two corners.

    masks: (N, S, S) bool, none empty.
    """
    points = uniform_points(masks, generator=generator)
    boxes = noisy_boxes(mask_boxes(masks), side_px=masks.shape[-1], generator=generator).view(-1, 2, 2)
    takes_box = torch.rand(len(masks), generator=generator) < box_prob
    coords = torch.where(takes_box[:, None, None], boxes, torch.stack([points, torch.zeros_like(points)], 1))
    labels = torch.where(takes_box[:, None], torch.tensor(BOX_CORNERS), torch.tensor((1, NOT_A_POINT)))
    return Prompts(coords, labels)


def correction_points(masks: Tensor, logits: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A point in each mask's error region, uniform: foreground where the prediction misses, background where it spills.

    masks: (N, S, S) bool. logits: (N, h, w) of the previous prediction, compared at their own resolution; the point
    is uniform within the pixel that was drawn. Where there is no error, a foreground point uniform in the mask.
    Returns points (N, 2) and labels (N,), 1 or 0.
    """
    truth = resize_masks(masks, logits.shape[-2:])
    errors = truth ^ (logits > 0)
    perfect = ~errors.flatten(1).any(1)
    anywhere = truth | ~truth.flatten(1).any(1)[:, None, None]
    cells = uniform_points(torch.where(perfect[:, None, None], anywhere, errors), generator=generator)
    columns, rows = cells.long().unbind(1)
    labels = truth[torch.arange(len(masks)), rows, columns].long()
    scale = masks.shape[-1] / logits.shape[-1]
    within = torch.rand(cells.shape, generator=generator)
    return (cells + within) * scale - 0.5, torch.where(perfect, torch.ones_like(labels), labels)


def uniform_points(regions: Tensor, *, generator: torch.Generator) -> Tensor:
    """One pixel of each region, every pixel equally likely. regions: (N, H, W) bool, none empty. Returns (N, 2)."""
    flat = regions.flatten(1)
    ranks = flat.cumsum(1, dtype=torch.int32)
    drawn = (torch.rand(len(flat), generator=generator) * ranks[:, -1]).int().clamp(max=ranks[:, -1] - 1)
    index = torch.searchsorted(ranks, (drawn + 1)[:, None]).squeeze(1)
    return torch.stack([index % regions.shape[-1], index // regions.shape[-1]], 1).float()


def mask_boxes(masks: Tensor) -> Tensor:
    """Tight boxes (N, 4) XYXY, pixel indices inclusive, of masks (N, H, W) bool, none empty."""
    columns, rows = masks.any(1).int(), masks.any(2).int()
    left, top = columns.argmax(1), rows.argmax(1)
    right = masks.shape[2] - 1 - columns.flip(1).argmax(1)
    bottom = masks.shape[1] - 1 - rows.flip(1).argmax(1)
    return torch.stack([left, top, right, bottom], 1).float()


def noisy_boxes(boxes: Tensor, *, side_px: int, generator: torch.Generator) -> Tensor:
    """Boxes (N, 4) XYXY with normal noise: deviation 10 % of the box's side, at most 20 px, kept on the picture."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.randn(boxes.shape, generator=generator) * BOX_NOISE_FRAC * sides
    return (boxes + noise.clamp(-BOX_NOISE_MAX_PX, BOX_NOISE_MAX_PX)).clamp(0, side_px - 1)


def resize_masks(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Masks (N, S, S) bool at another size (N, h, w) bool: set where at least half of the pixel is covered."""
    return F.adaptive_avg_pool2d(masks.float(), (size[0], size[1])) >= 0.5
