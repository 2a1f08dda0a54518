"""Parameter groups, learning rate and averaged weights."""

import math
from typing import Any

import torch
from torch import Tensor

from model.sam import Sam
from model.training.config import TrainingConfig
from schemas.errors import InputError

_ENCODER = "image_encoder."
_POSITIONS = ("embed", "rel_pos")


def parameter_groups(sam: Sam, config: TrainingConfig) -> list[dict[str, Any]]:
    """AdamW groups with their `lr_factor`. Vectors (biases, norms) and positions are not decayed.

    With `layer_decay`, the encoder's layers learn the slower the closer they are to the pixels (ViTDet, arXiv
    2203.16527). Raises InputError where the encoder has no layers in order.
    """
    _check_layers(sam, config)
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, parameter in sam.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and not any(part in name for part in _POSITIONS)
            groups.setdefault((_lr_factor(name, sam, config), decayed), []).append(parameter)
    return [
        {"params": parameters, "lr_factor": factor, "weight_decay": config.weight_decay if decayed else 0.0}
        for (factor, decayed), parameters in groups.items()
    ]


def _check_layers(sam: Sam, config: TrainingConfig) -> None:
    if config.layer_decay != 1 and sam.image_encoder.depth is None:
        raise InputError(
            f"layer_decay {config.layer_decay:g} needs an image encoder with layers in order, as a ViT; this one is "
            f"{type(sam.image_encoder).__name__}; set encoder_lr_factor instead"
        )


def _lr_factor(name: str, sam: Sam, config: TrainingConfig) -> float:
    """1 outside the encoder; in it, less for each layer between the parameter and the neck."""
    if not name.startswith(_ENCODER):
        return 1.0
    depth = sam.image_encoder.depth
    if config.layer_decay == 1 or depth is None:
        return config.encoder_lr_factor
    layer = sam.image_encoder.layer_of(name.removeprefix(_ENCODER))
    return float(config.encoder_lr_factor * config.layer_decay ** (depth + 1 - layer))


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of step number `step`, from 0: linear warm-up, then the schedule that the configuration names."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        passed = sum(step >= milestone * config.steps for milestone in config.milestones_frac)
        return config.lr * 0.1**passed
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
        return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
    left = (config.steps - step) / max(1, round(config.decay_frac * config.steps))
    return config.lr * min(1.0, left)


@torch.no_grad()
def ema_update(average: dict[str, Tensor], sam: Sam, *, decay: float, step: int) -> None:
    """Move the averaged weights towards the model's; early steps count more, so that the start is soon forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    for name, value in sam.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)
