"""Weights files: read without running anything that is in them, and recognised by the names and shapes they hold."""

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model.config import MODEL_SIZES, SamConfig
from model.sam import Sam, build_sam
from model.wrapped_weights import Weights, foreign, harmless_classes, no_weights_file, refusal, unwrapped
from schemas.errors import InputError

_HEAD_BYTES = 256


def load_weights_file(file: Path) -> tuple[str, Sam]:
    """A model from a published or imported weights file, `.pth`, `.pt` or `.safetensors`.

    Returns the name of its size (a key of `MODEL_SIZES`) and the model in fp32, ready for inference.
    Raises InputError naming the file and what was expected.
    """
    weights = read_weights(file)
    size = recognise(weights, file=file)
    return size, with_weights(MODEL_SIZES[size](), weights, file=file)


def with_weights(config: SamConfig, weights: Weights, *, file: Path) -> Sam:
    """A model of this architecture with these weights, in fp32 whatever they are stored as.

    Raises InputError where names or shapes differ, or a weight is not finite; `file` is named in it.
    """
    differences = _differences(weights, _shapes_of(config))
    if differences:
        raise InputError(f"{file}: these weights are of another architecture than its config.json: {differences[0]}")
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{file}: {name} holds NaN or infinity; get the file again")
    sam = build_sam(config)
    sam.load_state_dict(weights, strict=True)
    return sam


def read_weights(file: Path) -> Weights:
    """Tensors by their published names, whatever a trainer or library calls them.

    Only tensors are read, beside plain values and settings that run nothing; a file that wants to run code is refused.

    Raises InputError for a file that is missing, damaged, or holds something else than weights.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; expected weights as .pth, .pt or .safetensors")
    with file.open("rb") as opened:
        what = no_weights_file(opened.read(_HEAD_BYTES))
    if what:
        raise InputError(f"{file}: {what}")
    try:
        content = load_file(file) if file.suffix == ".safetensors" else _torch_load(file)
    except pickle.UnpicklingError as error:
        raise InputError(f"{file}: refused: {refusal(str(error))}") from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{file}: not a readable weights file (damaged or incomplete?); get it again") from error
    weights = unwrapped(content)
    if not weights:
        raise InputError(f"{file}: holds no weights; expected a dictionary of tensors by name")
    return weights


def recognise(weights: Weights, *, file: Path) -> str:
    """The key of `MODEL_SIZES` whose names and shapes these are.

    Raises InputError naming the file, the closest size and the first difference from it.
    """
    differences = {size: _differences(weights, _shapes_of(make())) for size, make in MODEL_SIZES.working()}
    closest = min(differences, key=lambda size: len(differences[size]))
    if not differences[closest]:
        return closest
    raise InputError(
        f"{file}: weights of {foreign(weights) or 'another architecture'}; "
        f"expected one of {', '.join(MODEL_SIZES)}, and even "
        f"{closest} differs in {len(differences[closest])} places, first: {differences[closest][0]}"
    )


def _torch_load(file: Path) -> Any:
    with torch.serialization.safe_globals(harmless_classes()):
        return torch.load(file, map_location="cpu", weights_only=True)


@lru_cache
def _shapes_of(config: SamConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's weights, without the memory for them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_sam(config).state_dict().items()}


def _differences(weights: Weights, expected: dict[str, tuple[int, ...]]) -> list[str]:
    missing = [f"{name} is missing" for name in expected if name not in weights]
    foreign = [f"{name} is unknown" for name in weights if name not in expected]
    shapes = [
        f"{name} has shape {tuple(weights[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    return shapes + missing + foreign
