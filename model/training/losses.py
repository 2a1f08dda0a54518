"""The losses of SAM (paper, section 3 and appendix A): focal and dice 20 : 1, lowest of three masks, IoU by MSE.

Shapes: N prompts, M masks a prompt, (H, W) side of the logits. Every loss is one value a mask, not yet averaged.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_WEIGHT = 20.0
DICE_WEIGHT = 1.0
IOU_WEIGHT = 1.0


class InteractionLoss(NamedTuple):
    """total: scalar to minimise. Then, for every prompt (N,): focal, dice, iou loss, index of the mask trained on."""

    total: Tensor
    focal: Tensor
    dice: Tensor
    iou: Tensor
    chosen: Tensor


def focal_loss(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (arXiv 1708.02002) of each mask, mean over its pixels. logits, targets: (N, M, H, W) -> (N, M)."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    wrongness = probability + targets - 2 * probability * targets  # 1 - probability of the right answer
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    return (balance * wrongness**gamma * cross_entropy).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, targets: Tensor, *, smooth: float = 1.0) -> Tensor:
    """1 - dice coefficient of each mask's probabilities. logits, targets: (N, M, H, W) -> (N, M)."""
    probability = logits.sigmoid()
    overlap = (probability * targets).sum(dim=(-2, -1))
    total = probability.sum(dim=(-2, -1)) + targets.sum(dim=(-2, -1))
    return 1 - (2 * overlap + smooth) / (total + smooth)


@torch.no_grad()
def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of the thresholded masks with their targets; 0 where both are empty. (N, M, H, W) -> (N, M)."""
    predicted, wanted = logits > 0, targets > 0.5
    intersection = (predicted & wanted).sum(dim=(-2, -1))
    union = (predicted | wanted).sum(dim=(-2, -1))
    return intersection / union.clamp(min=1)


def interaction_loss(
    *, logits: Tensor, predicted_iou: Tensor, targets: Tensor, supervise_all_iou: bool = False
) -> InteractionLoss:
    """The loss of one round: only each prompt's mask of lowest loss is trained, with its IoU prediction.

    logits: (N, M, H, W). predicted_iou: (N, M). targets: (N, H, W) in [0, 1].
    supervise_all_iou: train the IoU predictions of all M masks (as SAM 2 does), not of the lowest loss alone (paper).
    """
    wanted = targets[:, None].expand_as(logits)
    focal = focal_loss(logits, wanted)
    dice = dice_loss(logits, wanted)
    combined = FOCAL_WEIGHT * focal + DICE_WEIGHT * dice
    chosen = combined.argmin(dim=1, keepdim=True)
    iou_errors = (predicted_iou - mask_iou(logits, wanted)) ** 2
    mask_loss, focal, dice, iou_error = (
        values.gather(1, chosen).squeeze(1) for values in (combined, focal, dice, iou_errors)
    )
    if supervise_all_iou:
        iou_error = iou_errors.mean(1)
    total = (mask_loss + IOU_WEIGHT * iou_error).mean()
    return InteractionLoss(total, focal.detach(), dice.detach(), iou_error.detach(), chosen.squeeze(1))
