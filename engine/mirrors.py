"""Folders that libraries read from a disk, such as models, where the workspace lies at a URL: a copy on this machine.

A folder at a URL is whole when its card is there, which is written last; readers look for the card first. Folders never
change once they are whole, so that a copy stays good; what was taken away at the URL is taken away here.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.places import LocalPlace, Place, copy, place, scratch_folder
from model.registry import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_URL_FILE, check_name
from schemas.errors import InputError


def models_here(models: Place) -> Path:
    """The folder of models on this machine's disk; for one at a URL a copy of their cards.

    Weights are fetched when a model is first loaded; see `model.storage.load_model`.
    """
    here = models.on_disk()
    if isinstance(models, LocalPlace):
        return here
    found = _cards(models)
    for copied in place(here).find(f"[!.]*/{CARD_FILE}"):
        if (name := _folder_name(copied)) not in found or copied.read() != found[name]:
            (place(here) / name).remove()
    for name, card in found.items():
        if not (place(here) / name / CARD_FILE).exists():
            _copy_card(models / name, place(here) / name, card)
    return here


@contextmanager
def models_to_write(models: Place) -> Iterator[Path]:
    """A folder for new models, which are in `models` when the block ends without an error.

    Raises InputError where another model has the name of one of them.
    """
    if isinstance(models, LocalPlace):
        yield models.path
        return
    with scratch_folder() as scratch:
        yield scratch
        for card in place(scratch).find(f"[!.]*/{CARD_FILE}"):
            name = _folder_name(card)
            check_name(models_here(models), name, model_id=json.loads(card.text())["model_id"])
            if not (models / name / CARD_FILE).exists():
                put_folder(scratch / name, models / name)


def folder_here(folder: Place) -> Path:
    """A folder with a card on this machine's disk; for one at a URL a copy, if there is one. It need not be there."""
    here = folder.on_disk()
    if not isinstance(folder, LocalPlace) and not (place(here) / CARD_FILE).exists():
        files = [found.name for found in folder.find("*")]
        if CARD_FILE in files:
            for name in _card_last(files):
                copy(folder / name, place(here) / name)
    return here


def put_folder(here: Path, folder: Place) -> None:
    """Copy a folder of this disk to its place, the card last; nothing happens where it is that place."""
    if not isinstance(folder, LocalPlace):
        for name in _card_last([found.name for found in place(here).find("*")]):
            copy(place(here) / name, folder / name)


def refuse_copy(folder: Path, what: str) -> None:
    """Raise InputError where a model's folder is a copy of one at a URL, which `what` would not come into."""
    if (place(folder) / WEIGHTS_URL_FILE).exists():
        raise InputError(f"{what} is kept beside a model on this disk, and {folder.name} is in a workspace at a URL")


def _cards(models: Place) -> dict[str, bytes]:
    """Name and card of each model that is whole."""
    return {_folder_name(card): card.read() for card in models.find(f"[!.]*/{CARD_FILE}")}


def _copy_card(model: Place, here: Place, card: bytes) -> None:
    weights = model / WEIGHTS_FILE
    told = {"url": str(weights), "bytes": weights.size()}
    copy(model / CONFIG_FILE, here / CONFIG_FILE)
    (here / WEIGHTS_URL_FILE).write(json.dumps(told).encode())
    (here / CARD_FILE).write(card)


def _card_last(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (name == CARD_FILE, name))


def _folder_name(card: Place) -> str:
    return str(card).rsplit("/", 2)[-2]
