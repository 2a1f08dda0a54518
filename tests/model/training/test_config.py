"""Training configurations: what stands where nothing is said, the ends of what is allowed, and what does not fit."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from model.training.config import Phase, TrainingConfig

PHASE = {"until": 10, "batch_size": 1, "masks_per_image": 1, "correction_points": 0}
TINY = math.ulp(0.0)

# (least that is allowed, what is refused below it, largest that is allowed, what is refused above it), where there are
Ends = tuple[float, float] | tuple[float, float, float, float]
SHARE: Ends = (0.0, -TINY, 1.0, 1 + 1e-9)
BELOW_ONE: Ends = (0.0, -TINY, 1 - 1e-9, 1.0)
POSITIVE_SHARE: Ends = (TINY, 0.0, 1.0, 1 + 1e-9)
ENDS: dict[str, Ends] = {
    "lr": (TINY, 0.0),
    "encoder_lr_factor": (TINY, 0.0),
    "layer_decay": POSITIVE_SHARE,
    "weight_decay": (0.0, -TINY),
    "warmup_steps": (0, -1),
    "decay_frac": POSITIVE_SHARE,
    "grad_clip": (TINY, 0.0),
    "ema_decay": (TINY, 0.0, 1 - 1e-9, 1.0),
    "dropout": BELOW_ONE,
    "drop_path": BELOW_ONE,
    "decoder_depth": (1, 0),
    "box_prob": SHARE,
    "mask_first_prob": SHARE,
    "colour_jitter": BELOW_ONE,
    "paste_prob": SHARE,
    "zoom_prob": SHARE,
    "min_mask_frac": BELOW_ONE,
    "max_mask_frac": POSITIVE_SHARE,
    "loader_workers": (0, -1),
    "images_at_once": (1, 0),
    "masks_at_once": (1, 0),
    "masks_multiple": (1, 0),
    "cache_embeddings_mib": (0, -1),
}
PHASE_ENDS = {"until": 1, "batch_size": 1, "masks_per_image": 1, "correction_points": 0, "input_size_px": 32}


def config(**settings: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"name": "test", "phases": (PHASE,)} | settings)


def test_what_stands_where_nothing_is_said_is_the_papers() -> None:
    """Appendix A of the paper; what it does not name changes nothing."""
    found = config()
    optimizer = (found.lr, found.betas, found.weight_decay, found.warmup_steps, found.schedule, found.milestones_frac)
    assert optimizer == (8e-4, (0.9, 0.999), 0.1, 250, "step", (60_000 / 90_000, 86_666 / 90_000))
    assert (found.dropout, found.box_prob, found.max_mask_frac, found.masks_at_once) == (0.1, 0.5, 0.9, 64)
    assert (found.min_mask_frac, found.decay_frac, found.seed) == (1e-4, 0.3, 0)
    factors = (found.encoder_lr_factor, found.layer_decay, found.scale_range, found.masks_multiple)
    assert factors == (1.0, 1.0, (1.0, 1.0), 1)
    shares = (found.drop_path, found.mask_first_prob, found.colour_jitter, found.paste_prob, found.zoom_prob)
    assert shares == (0, 0, 0, 0, 0)
    switches = (found.freeze_encoder, found.supervise_all_iou, found.flip, found.checkpoint_activations)
    assert switches == (False, False, False, False)
    unset = (found.grad_clip, found.ema_decay, found.decoder_depth, found.loader_workers, found.images_at_once)
    assert (unset, found.precision, found.cache_embeddings_mib) == ((None,) * 5, "fp32", 0)
    assert (found.phases[0].mask_only_rounds, found.phases[0].input_size_px) == (True, None)


@pytest.mark.parametrize("name", ENDS)
def test_ends_of_what_is_allowed(name: str) -> None:
    allowed, refused = ENDS[name][::2], ENDS[name][1::2]
    given = {"freeze_encoder": True} if name == "cache_embeddings_mib" else {}
    for value in allowed:
        assert getattr(config(**given, **{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            config(**given, **{name: value})


@pytest.mark.parametrize("name", PHASE_ENDS)
def test_ends_of_what_is_allowed_in_a_phase(name: str) -> None:
    least = PHASE_ENDS[name]
    assert getattr(Phase.model_validate(PHASE | {name: least}), name) == least
    with pytest.raises(ValidationError, match=name):
        Phase.model_validate(PHASE | {name: least - 1})


def test_every_setting_with_ends_is_looked_at() -> None:
    bounded = {name for name, field in TrainingConfig.model_fields.items() if field.metadata}
    assert bounded == set(ENDS)
    assert {name for name, field in Phase.model_fields.items() if field.metadata} == set(PHASE_ENDS)


def test_unknown_settings_and_changes_are_refused() -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        config(learning_rate=1.0)
    with pytest.raises(ValidationError, match="frozen"):
        config().lr = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="steps"):
        Phase.model_validate(PHASE | {"steps": 3})
    with pytest.raises(ValidationError, match="frozen"):
        config().phases[0].until = 3  # type: ignore[misc]


def test_phases_end_at_rising_steps() -> None:
    first, same, last = PHASE | {"until": 3}, PHASE | {"until": 3}, PHASE | {"until": 4}
    found = config(phases=(first, last))
    assert found.steps == 4
    assert [found.phase(step).until for step in range(4)] == [3, 3, 3, 4]
    for phases in ((), (first, same), (last, first)):
        with pytest.raises(ValidationError, match="phases must end at rising steps"):
            config(phases=phases)


def test_embeddings_are_kept_only_where_they_stay_the_same() -> None:
    frozen = {"cache_embeddings_mib": 1, "freeze_encoder": True}
    assert config(**frozen).cache_embeddings_mib == 1
    changes = ({"scale_range": (0.5, 1.0)}, {"flip": True}, {"colour_jitter": 0.1}, {"paste_prob": 0.1})
    for change in (*changes, {"zoom_prob": 0.1}, {"freeze_encoder": False}):
        with pytest.raises(ValidationError, match="cache_embeddings_mib needs freeze_encoder"):
            config(**frozen | change)


def test_scales_are_low_and_high() -> None:
    for scales in ((0.5, 0.5), (1e-9, 2.0)):
        assert config(scale_range=scales).scale_range == scales
    for scales in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.9)):
        with pytest.raises(ValidationError, match="scale_range must be"):
            config(scale_range=scales)


def test_pictures_are_decoded_as_large_as_they_ever_get() -> None:
    small = PHASE | {"until": 20, "input_size_px": 96}
    assert config(scale_range=(0.1, 1.5)).longest_px(64) == 96
    assert config(phases=(PHASE, small)).longest_px(64) == 96
    assert config(phases=(PHASE, small)).longest_px(128) == 128
    assert config(scale_range=(0.1, 1.01)).longest_px(64) == 65
    assert config(zoom_prob=0.1).longest_px(64) is None
