"""Learning rates over the steps and over the layers, and what weight decay touches."""

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
