"""By which recipe a round's model is retrained."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.keys import content_key
from model.encoder_configs import VIT_B
from model.training.presets import training_preset
from schemas.config import EngineConfig
from schemas.tables import Round
from stages.retraining_recipe import for_new_kind, training_config
from tests.stages.stand_in_training import ENCODER, STAGE

RECORD = Round(STAGE, 1, (1, 2), "annotated", "m")


def config_of(**settings: Any) -> EngineConfig:
    return EngineConfig.model_validate({"retraining": settings, "seed": 3})


def test_the_recipe_is_the_presets_with_what_the_settings_name() -> None:
    seed = int(content_key("training", 3, STAGE, 1), 16) % 2**31
    plain = training_preset("retrain", encoder=ENCODER, images=700, seed=seed)
    assert training_config(config_of(), RECORD, ENCODER, images=700) == plain.model_copy(update={"loader_workers": 0})
    settings = {"steps": 7, "masks_per_image": 5, "lr": 0.25, "min_mask_frac": 0.0}
    asked = training_config(config_of(**settings), RECORD, ENCODER, images=700)
    expected = training_preset("retrain", encoder=ENCODER, images=700, seed=seed, steps=7, masks_per_image=5)
    assert asked == expected.model_copy(update={"loader_workers": 0, "lr": 0.25, "min_mask_frac": 0.0})
    assert training_config(config_of(preset="sam-default"), RECORD, VIT_B, images=2).layer_decay == 0.6


def test_a_gpu_is_fed_by_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training_config(config_of(), RECORD, ENCODER, images=700).loader_workers is None


def test_each_retraining_has_its_own_seed() -> None:
    rounds = (RECORD, replace(RECORD, round=2), replace(RECORD, stage="semi_automatic"))
    seeds = {training_config(config_of(), record, ENCODER, images=9).seed for record in rounds}
    other = config_of().model_copy(update={"seed": 4})
    seeds.add(training_config(other, RECORD, ENCODER, images=9).seed)
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_of_a_new_kind_the_smallest_masks_are_learned_too() -> None:
    recipe = training_config(config_of(), RECORD, ENCODER, images=9)
    assert recipe.min_mask_frac == 2e-4
    assert for_new_kind(recipe, config_of()) == recipe.model_copy(update={"min_mask_frac": 6e-5})
    asked = config_of(min_mask_frac=0.01)
    assert for_new_kind(training_config(asked, RECORD, ENCODER, images=9), asked).min_mask_frac == 0.01
    other = config_of(preset="sam-default")
    long = training_config(other, RECORD, VIT_B, images=9)
    assert for_new_kind(long, other) == long
