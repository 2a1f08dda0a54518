"""Parameter groups, learning rate and averaged weights."""

import math
from typing import Any

import torch
from torch import Tensor

from model.sam import Sam
from model.training.config import TrainingConfig


def parameter_groups(sam: Sam, config: TrainingConfig) -> list[dict[str, Any]]:
    """AdamW groups with their `lr_factor`: vectors (biases, norms, embeddings) are not decayed."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in sam.named_parameters():
        if parameter.requires_grad:
            encoder = name.startswith("image_encoder.")
            groups.setdefault((encoder, parameter.ndim > 1 and "embed" not in name), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr_factor": config.encoder_lr_factor if encoder else 1.0,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (encoder, decayed), parameters in groups.items()
    ]


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of step number `step`, from 0: linear warm-up, then the schedule that the configuration names."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        passed = sum(step >= milestone * config.steps for milestone in config.milestones_frac)
        return config.lr * 0.1**passed
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
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
