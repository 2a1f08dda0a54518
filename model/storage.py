"""Models to and from the disk with their weights; `model.registry` reads what they say about themselves."""

import errno
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoints import load_weights_file, read_weights, with_weights
from model.files import atomic_folder, file_sha256, give_mode_of, write_atomic
from model.registry import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelCard,
    ModelInfo,
    check_form,
    check_name,
    find_model,
    read_info,
    weights_file,
)
from model.remembering import REMEMBERED
from model.sam import Sam
from schemas.errors import InputError

_ID_DIGITS = 16


def save_model(sam: Sam, root: Path, card: ModelCard, *, dtype: torch.dtype = torch.float32) -> str:
    """Write a model as the folder `root/card.name` and return its id (16 hexadecimal digits).

    The folder appears whole or not at all. Saving the same weights under the same name again changes nothing.
    dtype: how floating-point weights are stored; float16 halves the file and rounds the weights. Those of a model that
    is kept inside are stored in float16 where that loses nothing.
    Raises InputError where the name cannot be a folder's, or another model has it already.
    """
    check_form(card.name)
    model_id = ""
    try:
        with atomic_folder(root / card.name) as unfinished:
            _save_json(unfinished / CONFIG_FILE, sam.config.to_dict())
            _save_weights(sam, unfinished / WEIGHTS_FILE, dtype)
            give_mode_of(unfinished / CONFIG_FILE, unfinished / WEIGHTS_FILE)
            model_id = _weights_id(unfinished / WEIGHTS_FILE)
            _save_json(unfinished / CARD_FILE, asdict(replace(card, model_id=model_id)))
    except FileExistsError:
        check_name(root, card.name, model_id=model_id)
    return model_id


def load_model(name: str | Path, roots: Sequence[Path], *, device: torch.device | str = "cpu") -> tuple[Sam, ModelInfo]:
    """A model by name, id or folder, in fp32 on `device`, ready for inference.

    Raises InputError where there is none, or its weights are not those that its card names.
    """
    info = find_model(name, roots)
    file = weights_file(info)
    weights = read_weights(file)
    found = _weights_id(file)
    if found != info.model_id:
        raise InputError(f"{file}: damaged or replaced: its id is {found}, its card says {info.model_id}")
    return with_weights(info.config, weights, file=file).to(device), info


def import_weights(
    file: Path, root: Path, *, name: str = "", source: Mapping[str, Any] | None = None, notes: str = ""
) -> ModelInfo:
    """Make a model of a weights file of SAM or its kin (`.pth`, `.pt`, `.safetensors`); only tensors are read.

    name: default is the size that the weights are recognised as, for example vit_b.
    source: what to record beside the file's name and SHA-256.
    Raises InputError naming the file where it is damaged or of another architecture, or where another model has the
    name already.
    """
    if name and not _is_made_of(root / name, file):
        check_name(root, name)
    size, sam = load_weights_file(file)
    origin = {"file": file.name, "sha256": file_sha256(file), **(source or {})}
    card = ModelCard(name=name or size, source=origin, notes=notes or f"imported weights, recognised as {size}")
    save_model(sam, root, card)
    return read_info(root / card.name)


def _save_weights(sam: Sam, path: Path, dtype: torch.dtype) -> None:
    weights = {name: _stored(name, tensor, dtype).cpu().contiguous() for name, tensor in sam.state_dict().items()}
    try:
        save_file(weights, path)  # no metadata: the id must follow from the weights alone
    except SafetensorError as error:
        told = re.search(r"os error (\d+)", str(error))
        code = int(told[1]) if told else errno.EIO
        raise OSError(code, os.strerror(code) if told else str(error), str(path)) from error


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if name.startswith(REMEMBERED) and torch.equal(tensor.half().to(tensor.dtype), tensor):
        return tensor.half()
    return tensor.to(dtype)


def _is_made_of(folder: Path, file: Path) -> bool:
    """Whether the model in this folder was imported from this very file."""
    if not (folder / CARD_FILE).exists() or not file.exists():
        return False
    return read_info(folder).card.source.get("sha256") == file_sha256(file)


def _weights_id(path: Path) -> str:
    return file_sha256(path)[:_ID_DIGITS]


def _save_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(path, text.encode())
