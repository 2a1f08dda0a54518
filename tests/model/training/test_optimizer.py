"""Learning rates over the steps and over the layers, and what weight decay touches."""

import math

import pytest
import torch

from model.config import SamConfig
from model.encoder_configs import ViTConfig
from model.sam import Sam, build_sam
from model.training.config import Phase, TrainingConfig
from model.training.optimizer import ema_update, learning_rate, parameter_groups
from schemas.errors import InputError
from tests.stages.workspaces import TINY


def _config(steps: int = 10, **changes: object) -> TrainingConfig:
    phase = Phase(until=steps, batch_size=1, masks_per_image=1, correction_points=0)
    return TrainingConfig.model_validate({"name": "test", "phases": (phase,)} | changes)


def test_learning_rates_of_the_three_schedules() -> None:
    step = _config(steps=90_000, schedule="step", warmup_steps=250, lr=8e-4)
    rates = [learning_rate(step, at) for at in (0, 249, 59_999, 60_000, 86_665, 86_667)]
    assert rates == pytest.approx([8e-4 / 250, 8e-4, 8e-4, 8e-5, 8e-5, 8e-6])
    cosine = _config(steps=102, schedule="cosine", warmup_steps=2, lr=1.0)
    assert [learning_rate(cosine, at) for at in (2, 52)] == pytest.approx([1.0, 0.5])
    end = _config(steps=100, schedule="linear_end", decay_frac=0.2, warmup_steps=0, lr=1.0)
    assert [learning_rate(end, at) for at in (50, 80, 90, 99)] == pytest.approx([1.0, 1.0, 0.5, 0.05])


def _rates(**settings: object) -> list[float]:
    config = _config(**settings)  # type: ignore[arg-type]
    return [learning_rate(config, step) for step in range(config.steps)]


def test_every_rate_of_short_schedules_by_hand() -> None:
    cosine = [4 * (1 + math.cos(math.pi * quarters / 4)) for quarters in range(4)]
    assert _rates(steps=6, schedule="cosine", warmup_steps=2, lr=8.0) == pytest.approx([4, 8, *cosine])
    falling = _rates(steps=7, schedule="linear_end", decay_frac=0.4, warmup_steps=1, lr=6.0)  # over the last 2.8, so 3
    assert falling == pytest.approx([6, 6, 6, 6, 6, 4, 2])
    stairs = _rates(steps=8, schedule="step", milestones_frac=(0.25, 0.75), warmup_steps=0, lr=1.0)
    assert stairs == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_a_fall_shorter_than_a_step_is_none_and_a_warm_up_may_be_longer_than_the_run() -> None:
    assert _rates(steps=3, schedule="linear_end", decay_frac=0.01, warmup_steps=0, lr=2.0) == [2, 2, 2]
    assert _rates(steps=3, schedule="cosine", warmup_steps=12, lr=6.0) == pytest.approx([0.5, 1, 1.5])


def _small_vit() -> Sam:
    encoder = ViTConfig(embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(2,), img_size=64, window_size=2)
    return build_sam(SamConfig(encoder, decoder_mlp_dim=64))


def _settings(sam: Sam, config: TrainingConfig) -> dict[str, tuple[float, float]]:
    """(share of the learning rate, weight decay) of each parameter, by name."""
    names = {id(parameter): name for name, parameter in sam.named_parameters()}
    return {
        names[id(parameter)]: (group["lr_factor"], group["weight_decay"])
        for group in parameter_groups(sam, config)
        for parameter in group["params"]
    }


def test_the_closer_a_block_is_to_the_pixels_the_slower_it_learns() -> None:
    sam = _small_vit()
    found = {name: factor for name, (factor, _) in _settings(sam, _config(layer_decay=0.5)).items()}
    assert found["image_encoder.pos_embed"] == found["image_encoder.patch_embed.proj.weight"] == 0.5**4
    assert [found[f"image_encoder.blocks.{block}.attn.qkv.weight"] for block in range(3)] == [0.5**3, 0.5**2, 0.5]
    assert found["image_encoder.neck.0.weight"] == 1
    assert found["mask_decoder.iou_token.weight"] == 1
    assert len(found) == len(list(sam.parameters())), "every parameter is in one group"


def test_vectors_and_positions_are_not_decayed() -> None:
    found = {name: decay for name, (_, decay) in _settings(_small_vit(), _config(weight_decay=0.1)).items()}
    assert found["image_encoder.blocks.0.mlp.lin1.weight"] == 0.1
    for name in ("pos_embed", "blocks.0.attn.rel_pos_h", "blocks.0.norm1.weight", "blocks.0.mlp.lin1.bias"):
        assert found[f"image_encoder.{name}"] == 0


@pytest.mark.parametrize(("layer_decay", "last_block", "pixels"), [(1.0, 0.25, 0.25), (0.5, 0.125, 0.25 * 0.5**4)])
def test_the_encoder_has_a_rate_of_its_own(layer_decay: float, last_block: float, pixels: float) -> None:
    config = _config(encoder_lr_factor=0.25, layer_decay=layer_decay)
    found = {name: factor for name, (factor, _) in _settings(_small_vit(), config).items()}
    assert found["image_encoder.neck.0.weight"] == 0.25
    assert found["image_encoder.blocks.2.attn.qkv.weight"] == last_block
    assert found["image_encoder.patch_embed.proj.weight"] == pixels
    assert {factor for name, factor in found.items() if not name.startswith("image_encoder.")} == {1.0}


def test_parameters_of_one_rate_and_decay_are_one_group_and_frozen_ones_are_in_none() -> None:
    sam = build_sam(TINY)
    groups = parameter_groups(sam, _config(encoder_lr_factor=0.5, weight_decay=0.1))
    pairs = [(group["lr_factor"], group["weight_decay"]) for group in groups]
    assert sorted(pairs) == [(0.5, 0.0), (0.5, 0.1), (1.0, 0.0), (1.0, 0.1)]
    sam.image_encoder.requires_grad_(False)
    assert not any(name.startswith("image_encoder.") for name in _settings(sam, _config()))


def test_layers_of_another_kind_of_encoder_cannot_decay() -> None:
    with pytest.raises(InputError, match=r"0.8 needs an image encoder with layers in order, .* is EfficientNet"):
        parameter_groups(build_sam(TINY), _config(layer_decay=0.8))


def test_averages_forget_the_start_soon_and_keep_counters() -> None:
    model = torch.nn.BatchNorm1d(1)  # weight 1, bias 0, batches seen: a counter

    def average(step: int, decay: float) -> tuple[float, int]:
        before = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
        model.num_batches_tracked.fill_(7)
        ema_update(before, model, decay=decay, step=step)  # type: ignore[arg-type]
        return before["weight"].item(), int(before["num_batches_tracked"])

    # The share of the model's own weight: 1 - min(decay, (1 + step) / (10 + step)).
    for step, share in ((0, 9 / 10), (1, 9 / 11), (8, 1 / 2), (80, 1 / 10), (100_000, 1 / 10)):
        assert average(step, 0.9) == (pytest.approx(share), 7)
    assert average(0, 0.05) == (pytest.approx(0.95), 7), "a quick average needs no warm-up"
