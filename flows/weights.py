"""The model that a command works with: a registered one, or a weights file."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.sam import Sam
    from model.text_prompts import TextPrompter


def load_sam(model: str, weights: Path | None, device: str) -> "tuple[Sam, str]":
    """The model and what to call it. weights: a file of SAM or MobileSAM, instead of the name or folder `model`.

    Raises InputError where there is no such model, file or device.
    """
    from model.checkpoints import load_weights_file
    from model.devices import device_of
    from model.registry import model_roots
    from model.storage import load_model

    where = device_of(device)
    if weights is not None:
        size, sam = load_weights_file(weights)
        return sam.to(where), f"{size} ({weights.name})"
    sam, info = load_model(model, model_roots(), device=where)
    return sam, f"{info.name} ({info.model_id})"


def text_of(model: str, weights: Path | None, device: str) -> "TextPrompter | None":
    """What finds words for the model that `load_sam` gives; None where it has no text head, as a weights file has none.

    Raises InputError where there is no such model.
    """
    from model.devices import device_of
    from model.registry import find_model, model_roots
    from model.text_prompts import text_prompter

    if weights is not None:
        return None
    return text_prompter(find_model(model, model_roots()).folder, device=device_of(device))
