"""On which weights of a model what it knows rests: a file beside it, or beside the one that it was trained from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from engine.files import write_atomic
from model.registry import ModelInfo, beside
from model.sam import Sam
from model.training.importance import Importance, normalised
from model.training.presets import training_preset
from model.training.samples import SampleSource
from model.training.trainer import mean_squared_gradients
from schemas.errors import InputError

IMPORTANCE_FILE = "importance.safetensors"
IMPORTANCE_LOOKS = 96  # at pictures, for the importance of a model's weights
_ROWS, _COLUMNS = ".rows", ".columns"
_LEAST = 1e-30  # of a mean that is divided by


def importance_file(model: ModelInfo, roots: Sequence[Path]) -> Path | None:
    """The file beside a model, or beside the nearest one that it was trained from; None where there is none."""
    return beside(model, roots, IMPORTANCE_FILE)


def measure_importance(
    sam: Sam,
    source: SampleSource,
    *,
    looks: int,
    masks_per_image: int = 8,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    on_look: Callable[[int], None] | None = None,
) -> Importance:
    """Of each weight for these pictures, as `retrain` would show them one by one; `looks` of them in all,
    each at up to `masks_per_image` masks.

    weights: how often each picture comes, None for once each. on_look: told how many looks are done.
    Pictures that cannot be read are passed over; raises InputError where none can be learned from.
    """
    recipe = training_preset(
        "retrain",
        encoder=sam.config.encoder,
        steps=looks,
        batch_size=1,
        masks_per_image=masks_per_image,
        seed=seed,
    )
    return normalised(mean_squared_gradients(sam, source, recipe, weights=weights, on_step=on_look))


def read_importance(file: Path) -> Importance:
    """Raises InputError naming the file where it cannot be read."""
    try:
        stored = {name: value.float() for name, value in load_file(file).items()}
        shapes = {name.removesuffix(_ROWS) for name in stored if name.endswith(_ROWS)}
        found = {name: value for name, value in stored.items() if not name.endswith((_ROWS, _COLUMNS))}
        found |= {name: stored[name + _ROWS] * stored[name + _COLUMNS] for name in shapes}
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    return normalised(found)


def write_importance(importance: Importance, file: Path) -> None:
    """Of each weight with two dimensions or more the means over its outputs and over all else, whose product stands
    for the whole as in Adafactor (arXiv 1804.04235): a hundredth of its size, the same but for a factor of 2."""
    stored: dict[str, Tensor] = {}
    for name, value in importance.items():
        if value.ndim < 2:
            stored[name] = value
            continue
        rest = tuple(range(1, value.ndim))
        stored[name + _ROWS] = value.mean(rest, keepdim=True)
        stored[name + _COLUMNS] = value.mean(0, keepdim=True) / value.mean().clamp(min=_LEAST)
    content = save({name: value.to(torch.bfloat16).contiguous() for name, value in stored.items()})
    write_atomic(file, content)
