"""Training recipes by name, each a function that returns a whole configuration."""

from collections.abc import Callable
from typing import Any, Literal

from model.encoder_configs import VIT_B, VIT_H, VIT_L, EncoderConfig
from model.training.config import Phase, TrainingConfig
from schemas.errors import InputError

_PaperSize = Literal["vit_h", "vit_l", "vit_b"]
_PAPER: dict[_PaperSize, dict[str, Any]] = {
    "vit_h": {"steps": 90_000, "batch_size": 256, "lr": 8e-4, "layer_decay": 0.8, "drop_path": 0.4},
    "vit_l": {"steps": 180_000, "batch_size": 128, "lr": 4e-4, "layer_decay": 0.8, "drop_path": 0.4},
    "vit_b": {"steps": 180_000, "batch_size": 128, "lr": 8e-4, "layer_decay": 0.6, "drop_path": 0.6},
}
_PAPER_MASKS_PER_IMAGE = 64  # the paper has one image a GPU
_AMG_STEPS = 177_656
_MANY_IMAGES = 1000
_CAREFUL_RATE, _CAREFUL_ENCODER_FACTOR = 3e-4, 0.5  # of shortened steps


def sam_default(
    *,
    size: _PaperSize = "vit_h",
    steps: int | None = None,
    masks_per_image: int = _PAPER_MASKS_PER_IMAGE,
    seed: int = 0,
) -> TrainingConfig:
    """How the published models were trained (SAM paper, appendix A): 11 rounds from a point or a box, no augmentation.

    steps: instead of the paper's number; the rate falls at the same shares of them (at 60,000 and 86,666 of 90,000,
    which the paper states for ViT-H and which is scaled for the others).
    """
    own = _PAPER[size]
    phase = Phase(
        until=steps or own["steps"],
        batch_size=own["batch_size"],
        masks_per_image=masks_per_image,
        correction_points=8,
    )
    rates = {key: own[key] for key in ("lr", "layer_decay", "drop_path")}
    return TrainingConfig(name="sam-default", phases=(phase,), seed=seed, **rates)


def sam_amg(*, steps: int | None = None, **others: Any) -> TrainingConfig:
    """The model that made SA-1B (SAM paper, appendix B): points and masks only, 4 points, 3 decoder layers, jitter.

    It was trained on the masks of the first two stages alone: select those up to semi_automatic. others: as for
    `sam_default`.
    """
    default = sam_default(steps=steps or _AMG_STEPS, **others)
    phase = default.phases[0].model_copy(update={"correction_points": 3})
    changes = {"name": "sam-amg", "phases": (phase,), "box_prob": 0.0, "decoder_depth": 3, "scale_range": (0.1, 2.0)}
    return default.model_copy(update=changes)


def retrain(
    *,
    steps: int | None = None,
    images: int | None = None,
    batch_size: int | None = None,
    masks_per_image: int = 8,
    encoder_lr_factor: float = 4.0,
    careful: bool = False,
    seed: int = 0,
) -> TrainingConfig:
    """A short schedule, for the retraining that ends every round of the engine.

    A new kind of pictures is learned by the image encoder, and forgotten are old ones by the decoder: a convolutional
    encoder gets four times the decoder's rate (`encoder_lr_factor`; each kind of encoder names its own). On 18 pictures
    of plants and 40 steps that gave as much as one rate of 2e-4 for both gave at a forgetting of 0.02
    (benchmarks/results/loop.md). For ViTs, which were not tried, the rates are the careful ones.

    careful: the steps of weights on which known things rest are shortened (`model.training.importance`), so that both
    rates may be higher.

    steps: None for two looks at each of `images`, but at least 40 and at most 3,000; 300 where their number is unknown.
    batch_size: None for 4 pictures, and 16 from 1,000 images on.
    """
    if batch_size is None:
        batch_size = 4 if images is None or images < _MANY_IMAGES else 16
    if steps is None:
        steps = 300 if images is None else min(3000, max(40, 2 * images // batch_size))
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
        lr=_CAREFUL_RATE if careful else 5e-5,
        encoder_lr_factor=_CAREFUL_ENCODER_FACTOR if careful else encoder_lr_factor,
        schedule="cosine",
        warmup_steps=min(20, steps // 10),
        grad_clip=1.0,
        dropout=0.0,
        supervise_all_iou=True,
        scale_range=(0.8, 1.4),
        flip=True,
        colour_jitter=0.2,
        min_mask_frac=2e-4,  # three pixels of the decoder's logits; smaller ones cost much of what was known before
    )


def nano(*, steps: int = 3600, seed: int = 0) -> TrainingConfig:
    """The recipe of the model that ships, for a GPU, from ImageNet's image encoder.

    Smaller pictures and one prompt first, because rounds and pixels cost more than they teach to a decoder that has not
    found its prompts yet; then corrections. Jitter and pasted segments widen the few photographs that there are.
    A fifth of the steps starts from a mask, so that a mask that is handed in is kept; a sixth of the pictures is shown
    around a small mask, which otherwise is too small to be shown at all. The model that ships was made without either
    and without mask-only rounds.
    steps: the rate falls to 0 over the last 60 % of them.
    """

    def phase(until_frac: float, *, corrections: int, side_px: int, mask_only: bool = False) -> Phase:
        return Phase(
            until=max(1, round(until_frac * steps)),
            batch_size=32,
            masks_per_image=12,
            correction_points=corrections,
            mask_only_rounds=mask_only,
            input_size_px=side_px,
        )

    return TrainingConfig(
        name="nano",
        phases=(
            phase(0.15, corrections=0, side_px=384),
            phase(0.7, corrections=1, side_px=512),
            phase(1.0, corrections=4, side_px=512, mask_only=True),
        ),
        seed=seed,
        lr=8e-4,
        encoder_lr_factor=0.25,
        schedule="linear_end",
        decay_frac=0.6,
        warmup_steps=min(150, steps // 10),
        grad_clip=1.0,
        ema_decay=0.999,
        precision="bf16",
        dropout=0.0,
        supervise_all_iou=True,
        masks_at_once=512,
        masks_multiple=32,
        scale_range=(0.5, 2.0),
        flip=True,
        colour_jitter=0.4,
        paste_prob=0.5,
        mask_first_prob=0.2,
        zoom_prob=0.15,
        min_mask_frac=2e-4,
    )


TRAINING_PRESETS: dict[str, Callable[..., TrainingConfig]] = {
    "sam-default": sam_default,
    "sam-amg": sam_amg,
    "retrain": retrain,
    "nano": nano,
}
_PAPER_PRESETS = ("sam-default", "sam-amg")
_PAPER_SIZES: dict[EncoderConfig, _PaperSize] = {VIT_H: "vit_h", VIT_L: "vit_l", VIT_B: "vit_b"}


def training_preset(
    name: str, *, encoder: EncoderConfig, images: int | None = None, **overrides: Any
) -> TrainingConfig:
    """The recipe called `name` for a model with this image encoder; overrides are the arguments of its function.

    images: how many there are to learn from; `retrain` is as long as they need.

    Raises InputError for an unknown name, an unknown argument, a value out of range, or a recipe of the paper where
    the encoder is none of the paper's.
    """
    if name not in TRAINING_PRESETS:
        raise InputError(f"unknown training preset {name!r}; choose one of {', '.join(TRAINING_PRESETS)}")
    if name in _PAPER_PRESETS:
        if encoder not in _PAPER_SIZES:
            raise InputError(
                f"training preset {name!r} is for {', '.join(_PAPER_SIZES.values())}; start from one of them, "
                "or choose another preset"
            )
        overrides["size"] = _PAPER_SIZES[encoder]
    if name == "retrain":
        overrides |= {"images": images, "encoder_lr_factor": encoder.retrain_lr_factor}
    try:
        return TRAINING_PRESETS[name](**overrides)
    except (TypeError, ValueError) as error:
        raise InputError(f"training preset {name!r}: {' '.join(str(error).split())}") from error
