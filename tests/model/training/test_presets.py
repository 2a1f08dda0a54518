"""Recipes: the paper's to the letter, and what is said of wrong ones."""

import pytest

from model.encoder_configs import LITE2, VIT_B, VIT_H, VIT_L, EncoderConfig
from model.training.optimizer import learning_rate
from model.training.presets import TRAINING_PRESETS, nano, retrain, sam_amg, sam_default, training_preset
from schemas.errors import InputError


@pytest.mark.parametrize(
    ("encoder", "steps", "batch", "lr", "layer_decay", "drop_path"),
    [
        (VIT_H, 90_000, 256, 8e-4, 0.8, 0.4),
        (VIT_L, 180_000, 128, 4e-4, 0.8, 0.4),
        (VIT_B, 180_000, 128, 8e-4, 0.6, 0.6),
    ],
)
def test_sam_default_is_appendix_a(
    encoder: EncoderConfig, steps: int, batch: int, lr: float, layer_decay: float, drop_path: float
) -> None:
    config = training_preset("sam-default", encoder=encoder)
    (phase,) = config.phases
    assert (config.steps, phase.batch_size, phase.masks_per_image) == (steps, batch, 64)
    assert (phase.correction_points, phase.mask_only_rounds, config.box_prob) == (8, True, 0.5)
    assert (config.lr, config.layer_decay, config.drop_path) == (lr, layer_decay, drop_path)
    assert (config.weight_decay, config.betas, config.warmup_steps, config.dropout) == (0.1, (0.9, 0.999), 250, 0.1)
    assert (config.scale_range, config.flip, config.colour_jitter, config.max_mask_frac) == ((1, 1), False, 0, 0.9)
    assert not config.supervise_all_iou


def test_the_rate_of_vit_h_falls_where_the_paper_says() -> None:
    config = training_preset("sam-default", encoder=VIT_H)
    rates = [learning_rate(config, step) for step in (0, 249, 59_999, 60_000, 86_665, 86_667)]
    assert rates == pytest.approx([8e-4 / 250, 8e-4, 8e-4, 8e-5, 8e-5, 8e-6])


def test_sam_amg_is_appendix_b() -> None:
    config = training_preset("sam-amg", encoder=VIT_H)
    (phase,) = config.phases
    assert config.steps == 177_656
    assert config.box_prob == 0
    assert 1 + phase.correction_points == 4
    assert config.decoder_depth == 3
    assert config.scale_range == (0.1, 2.0)


def test_steps_and_masks_can_be_fewer() -> None:
    config = training_preset("sam-amg", encoder=VIT_B, steps=10, masks_per_image=2)
    assert (config.steps, config.phases[0].masks_per_image) == (10, 2)
    assert training_preset("retrain", encoder=LITE2, steps=7).steps == 7


@pytest.mark.parametrize(
    ("images", "steps"), [(1, 40), (20, 40), (200, 100), (999, 499), (1000, 125), (20_000, 2500), (10**6, 3000)]
)
def test_a_retraining_is_as_long_as_its_images_need(images: int, steps: int) -> None:
    assert training_preset("retrain", encoder=LITE2, images=images).steps == steps


def test_only_a_convolutional_encoder_learns_faster_than_the_decoder() -> None:
    assert training_preset("retrain", encoder=LITE2).encoder_lr_factor == 4.0
    assert training_preset("retrain", encoder=VIT_B).encoder_lr_factor == 0.25


@pytest.mark.parametrize("steps", [4, 10, 3600])
def test_the_shipped_models_recipe_can_be_any_length(steps: int) -> None:
    nano = training_preset("nano", encoder=LITE2, steps=steps)
    assert nano.steps == steps
    assert learning_rate(nano, steps - 1) < nano.lr


def test_recipes_start_from_masks_and_zoom_where_that_was_tried() -> None:
    nano = training_preset("nano", encoder=LITE2)
    assert (nano.mask_first_prob, nano.zoom_prob) == (0.2, 0.15)
    assert [phase.mask_only_rounds for phase in nano.phases] == [False, False, True]
    assert nano.longest_px(512) is None
    amg = training_preset("sam-amg", encoder=VIT_H)
    assert (amg.mask_first_prob, amg.zoom_prob) == (0, 0)
    assert amg.longest_px(512) == 1024
    assert training_preset("retrain", encoder=LITE2).mask_first_prob == 0


@pytest.mark.parametrize(
    ("encoder", "own"),
    [
        (VIT_H, {"until": 90_000, "batch_size": 256, "layer_decay": 0.8, "drop_path": 0.4}),
        (VIT_L, {"until": 180_000, "batch_size": 128, "lr": 4e-4, "layer_decay": 0.8, "drop_path": 0.4}),
        (VIT_B, {"until": 180_000, "batch_size": 128, "layer_decay": 0.6, "drop_path": 0.6}),
    ],
)
def test_the_papers_recipes_change_nothing_else(encoder: EncoderConfig, own: dict[str, object]) -> None:
    phase = {"until": own["until"], "batch_size": own["batch_size"], "masks_per_image": 64, "correction_points": 8}
    rates = {name: value for name, value in own.items() if name not in phase}
    default = training_preset("sam-default", encoder=encoder).model_dump(exclude_defaults=True)
    assert default == {"name": "sam-default", "phases": (phase,)} | rates
    amg = training_preset("sam-amg", encoder=encoder).model_dump(exclude_defaults=True)
    assert (
        amg
        == {
            "name": "sam-amg",
            "phases": (phase | {"until": 177_656, "correction_points": 3},),
            "box_prob": 0,
            "decoder_depth": 3,
            "scale_range": (0.1, 2),
        }
        | rates
    )


@pytest.mark.parametrize("name", TRAINING_PRESETS)
def test_every_recipe_takes_a_seed_and_has_the_same_one_where_none_is_named(name: str) -> None:
    assert training_preset(name, encoder=VIT_H).seed == 0
    assert training_preset(name, encoder=VIT_H, seed=5).seed == 5


def test_a_recipe_can_be_asked_for_by_its_function() -> None:
    assert sam_default() == training_preset("sam-default", encoder=VIT_H)
    assert sam_amg() == training_preset("sam-amg", encoder=VIT_H)
    assert retrain() == training_preset("retrain", encoder=LITE2)
    assert nano() == training_preset("nano", encoder=LITE2)


@pytest.mark.parametrize(("steps", "ends", "warmup"), [(3, [1, 2, 3], 0), (20, [3, 14, 20], 2), (1499, [], 149)])
def test_the_phases_of_a_short_training_are_shares_of_its_steps(steps: int, ends: list[int], warmup: int) -> None:
    found = training_preset("nano", encoder=LITE2, steps=steps)
    assert [phase.until for phase in found.phases] == (ends or [225, 1049, 1499])
    assert found.warmup_steps == warmup


def test_a_retraining_warms_up_for_a_tenth_of_its_steps_and_no_longer_than_twenty() -> None:
    found = [training_preset("retrain", encoder=LITE2, steps=steps).warmup_steps for steps in (9, 10, 199, 200, 999)]
    assert found == [0, 1, 19, 20, 20]


def test_what_is_asked_of_a_retraining_is_what_it_does() -> None:
    config = training_preset("retrain", encoder=LITE2, images=20, batch_size=7, masks_per_image=3)
    (phase,) = config.phases
    assert (phase.batch_size, phase.masks_per_image, phase.until) == (7, 3, 40)
    assert retrain(encoder_lr_factor=0.5).encoder_lr_factor == 0.5


def test_presets_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match="unknown training preset 'fast'; choose one of sam-default"):
        training_preset("fast", encoder=LITE2)
    with pytest.raises(InputError, match="retrain"):
        training_preset("retrain", encoder=LITE2, speed=9)
    with pytest.raises(InputError, match="retrain"):
        training_preset("retrain", encoder=LITE2, steps=0)
    with pytest.raises(InputError, match="is for vit_h, vit_l, vit_b; start from one of them"):
        training_preset("sam-default", encoder=LITE2)


def test_the_recipe_of_the_model_that_ships_is_the_one_its_card_speaks_of() -> None:
    """Each was chosen by a measurement (benchmarks/results/nano_choices.md)."""
    changed = training_preset("nano", encoder=LITE2, seed=7).model_dump(exclude_defaults=True)
    own = {"batch_size": 32, "masks_per_image": 12}
    assert changed == {
        "name": "nano",
        "phases": (
            own | {"until": 540, "correction_points": 0, "input_size_px": 384, "mask_only_rounds": False},
            own | {"until": 2520, "correction_points": 1, "input_size_px": 512, "mask_only_rounds": False},
            own | {"until": 3600, "correction_points": 4, "input_size_px": 512},
        ),
        "seed": 7,
        "encoder_lr_factor": 0.25,
        "schedule": "linear_end",
        "decay_frac": 0.6,
        "warmup_steps": 150,
        "grad_clip": 1.0,
        "ema_decay": 0.999,
        "precision": "bf16",
        "dropout": 0.0,
        "supervise_all_iou": True,
        "masks_at_once": 512,
        "masks_multiple": 32,
        "scale_range": (0.5, 2.0),
        "flip": True,
        "colour_jitter": 0.4,
        "paste_prob": 0.5,
        "mask_first_prob": 0.2,
        "zoom_prob": 0.15,
        "min_mask_frac": 2e-4,
    }
    assert training_preset("nano", encoder=LITE2, steps=100).warmup_steps == 10


def test_a_retraining_changes_a_model_with_care() -> None:
    """As chosen in benchmarks/results/loop.md."""
    changed = training_preset("retrain", encoder=LITE2, images=20, seed=7).model_dump(exclude_defaults=True)
    phase = {"until": 40, "batch_size": 4, "masks_per_image": 8, "correction_points": 1, "mask_only_rounds": False}
    assert changed == {
        "name": "retrain",
        "phases": (phase,),
        "seed": 7,
        "lr": 5e-5,
        "encoder_lr_factor": 4.0,
        "schedule": "cosine",
        "warmup_steps": 4,
        "grad_clip": 1.0,
        "dropout": 0.0,
        "supervise_all_iou": True,
        "scale_range": (0.8, 1.4),
        "flip": True,
        "colour_jitter": 0.2,
        "min_mask_frac": 2e-4,
    }
    (unknown,) = training_preset("retrain", encoder=LITE2).phases
    assert (unknown.until, unknown.batch_size) == (300, 4)
    assert training_preset("retrain", encoder=LITE2).warmup_steps == 20
    batches = [training_preset("retrain", encoder=LITE2, images=n).phases[0].batch_size for n in (999, 1000)]
    assert batches == [4, 16]
