"""By which recipe the model of a round is retrained."""

from typing import Any

import torch

from engine.keys import content_key
from model.encoder_configs import EncoderConfig
from model.training.config import TrainingConfig
from model.training.presets import training_preset
from schemas.config import EngineConfig
from schemas.tables import Round

# Of the model's input: a pixel of the decoder's logits, of 4 x 4 pixels. Where the start model is not kept inside, to
# learn such masks costs much of what it knew (benchmarks/results/loop.md).
SMALLEST_OF_NEW_KIND = 6e-5


def training_config(
    config: EngineConfig, record: Round, encoder: EncoderConfig, *, images: int, careful: bool = False
) -> TrainingConfig:
    """The recipe of a round's retraining by the workspace's settings; its seed follows from seed, stage and round.

    encoder: of the model that is retrained. images: how many it learns from. careful: whether it is known on which
    weights known things rest.
    """
    settings = config.retraining
    asked: dict[str, float | None] = {"steps": settings.steps, "masks_per_image": settings.masks_per_image}
    seed = int(content_key("training", config.seed, record.stage, record.round), 16) % 2**31
    overrides: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    overrides |= {"careful": True} if careful else {}
    recipe = training_preset(settings.preset, encoder=encoder, images=images, seed=seed, **overrides)
    changes = {"lr": settings.lr, "min_mask_frac": settings.min_mask_frac}
    # Without a GPU the few steps of a round are through before a loader process of their own has paid for its start.
    workers = None if torch.cuda.is_available() else 0
    update = {"loader_workers": workers} | {name: value for name, value in changes.items() if value is not None}
    return recipe.model_copy(update=update)


def for_new_kind(recipe: TrainingConfig, config: EngineConfig) -> TrainingConfig:
    """The same for a model that keeps the start model inside: the smallest masks are learned, too, unless settings say
    otherwise."""
    settings = config.retraining
    if settings.min_mask_frac is not None or settings.preset != "retrain":
        return recipe
    return recipe.model_copy(update={"min_mask_frac": SMALLEST_OF_NEW_KIND})
