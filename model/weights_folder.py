"""A small network beside the models: a folder of weights and a card, which appears whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.files import atomic_folder, file_sha256, give_mode_of, write_atomic
from schemas.errors import InputError

CARD_FILE = "card.json"


def save_weights_folder(
    folder: Path, weights_file: str, weights: Mapping[str, Tensor], card: Mapping[str, Any]
) -> None:
    """Write weights and card as a folder that appears whole or not at all; one that is there already stays as it is.

    card: where they come from and what was measured, plain values for JSON; the hash of the weights is added.
    """
    try:
        with atomic_folder(folder) as unfinished:
            file = unfinished / weights_file
            save_file({name: value.cpu().contiguous() for name, value in weights.items()}, file)
            text = json.dumps({**card, "weights_sha256": file_sha256(file)}, indent=2, allow_nan=False) + "\n"
            write_atomic(unfinished / CARD_FILE, text.encode())
            give_mode_of(unfinished / CARD_FILE, file)
    except FileExistsError:
        if not (folder / CARD_FILE).exists():
            raise


def load_weights_folder(folder: Path, weights_file: str, *, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and card. what: it is, for people. Raises InputError naming the folder where a file is missing or
    damaged."""
    try:
        card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        if file_sha256(folder / weights_file) != card["weights_sha256"]:
            raise ValueError("the weights are not those that the card names")
        return load_file(folder / weights_file), card
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise damaged(folder, error, what=what) from error


def damaged(folder: Path, error: Exception, *, what: str) -> InputError:
    """What is said of a folder whose files are not what they should be."""
    reason = " ".join(str(error).split())
    return InputError(f"{folder}: a damaged {what} ({reason}); delete the folder, it is then made anew")
