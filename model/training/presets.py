"""Training recipes by name, each a function that returns a whole configuration."""

from collections.abc import Callable
from typing import Any

from model.training.config import Phase, TrainingConfig
from schemas.errors import InputError


def retrain(*, steps: int = 300, batch_size: int = 4, masks_per_image: int = 8, seed: int = 0) -> TrainingConfig:
    """A short schedule at a low rate, for the retraining that ends every round of the engine."""
    phase = Phase(
        until=steps,
        batch_size=batch_size,
        masks_per_image=masks_per_image,
        correction_points=1,
        mask_only_rounds=False,
    )
    return TrainingConfig(
        name="retrain",
        phases=(phase,),
        seed=seed,
        lr=1e-4,
        encoder_lr_factor=0.25,
        schedule="cosine",
        warmup_steps=min(20, steps // 10),
        grad_clip=1.0,
        dropout=0.0,
        supervise_all_iou=True,
        scale_range=(0.8, 1.4),
        flip=True,
        colour_jitter=0.2,
        min_mask_frac=4e-4,
    )


def nano(*, seed: int = 0) -> TrainingConfig:
    """The recipe of the model that ships: an hour and a half on two CPU cores, from ImageNet's image encoder.

    Small pictures and one prompt first, because rounds and pixels cost more than they teach to a decoder that has not
    found its prompts yet; then corrections; the full input size last.
    """

    def phase(until: int, *, images: int, masks: int, corrections: int, side_px: int) -> Phase:
        return Phase(
            until=until,
            batch_size=images,
            masks_per_image=masks,
            correction_points=corrections,
            mask_only_rounds=False,
            input_size_px=side_px,
        )

    return TrainingConfig(
        name="nano",
        phases=(
            phase(2600, images=4, masks=10, corrections=0, side_px=320),
            phase(3550, images=4, masks=6, corrections=2, side_px=320),
            phase(3800, images=3, masks=4, corrections=2, side_px=512),
        ),
        seed=seed,
        lr=8e-4,
        encoder_lr_factor=0.25,
        schedule="linear_end",
        decay_frac=1100 / 3800,
        warmup_steps=50,
        ema_decay=0.999,
        dropout=0.0,
        scale_range=(0.7, 1.6),
        flip=True,
        colour_jitter=0.25,
        min_mask_frac=4e-4,
    )


def nano_more(*, seed: int = 2) -> TrainingConfig:
    """An hour and a half more for a model that the recipe `nano` made.

    The IoU of all three masks is trained from here on: taught the winner's alone, the head rated masks it had never
    been told about (correlation with the true IoU 0.3 to 0.6), and what it rates decides what is kept in the end.
    """
    first = nano(seed=seed)
    steps = (1800, 2600, 3050)
    phases = tuple(phase.model_copy(update={"until": end}) for phase, end in zip(first.phases, steps, strict=True))
    return first.model_copy(
        update={"name": "nano-more", "phases": phases, "lr": 3e-4, "decay_frac": 1.0, "supervise_all_iou": True}
    )


TRAINING_PRESETS: dict[str, Callable[..., TrainingConfig]] = {"retrain": retrain, "nano": nano, "nano-more": nano_more}


def training_preset(name: str, **overrides: Any) -> TrainingConfig:
    """The recipe called `name`; overrides are the arguments of its function.

    Raises InputError for an unknown name, an unknown argument or a value out of range.
    """
    if name not in TRAINING_PRESETS:
        raise InputError(f"unknown training preset {name!r}; choose one of {', '.join(TRAINING_PRESETS)}")
    try:
        return TRAINING_PRESETS[name](**overrides)
    except (TypeError, ValueError) as error:
        raise InputError(f"training preset {name!r}: {' '.join(str(error).split())}") from error
