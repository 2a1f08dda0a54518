"""Models on disk: one folder each, with `weights.safetensors`, `config.json` (architecture) and `card.json` (origin).

A model's id is the hash of its weights, so that a mask which names it names exactly these numbers. Here is what models
say about themselves, without torch: `sam-engine status` and its like answer at once. `model.storage` has the weights.
"""

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from model.config import FETCHED, MODEL_SIZES, UNPUBLISHED, SamConfig
from model.files import copy_from_url
from schemas.errors import InputError

WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "weights.safetensors", "config.json", "card.json"
# In a copy of a model that lies at a URL, in place of the weights until they are needed: {"url": ..., "bytes": ...}.
WEIGHTS_URL_FILE = "weights_url.json"
HOME_VARIABLE = "SAM_ENGINE_HOME"
_MIN_ID_DIGITS = 6
_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelCard:
    """Where a model comes from. Everything but the name may be unknown.

    parent: id of the model it was trained from. stage, round: the retraining that made it. trained_on: table versions
    and selection rule, or data sets with their terms. training: the training configuration. source: the file it was
    imported from, with its SHA-256. metrics: what was measured, by name.
    """

    name: str
    parent: str = ""
    stage: str = ""
    round: int | None = None
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    model_id: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """A model that is on disk."""

    model_id: str
    folder: Path
    config: SamConfig
    card: ModelCard

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def size_bytes(self) -> int:
        """Size of the weights file."""
        file = self.folder / WEIGHTS_FILE
        return file.stat().st_size if file.exists() else int(_load_json(self.folder / WEIGHTS_URL_FILE)["bytes"])


def builtin_models_root() -> Path:
    """The models that ship with the package."""
    return Path(__file__).parent / "weights"


def user_models_root() -> Path:
    """The models this user imported or fetched: `$SAM_ENGINE_HOME/models`, else `~/.sam-data-engine/models`."""
    return user_home() / "models"


def user_home() -> Path:
    """What is the user's own on this machine: `$SAM_ENGINE_HOME`, else `~/.sam-data-engine`."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home) if home else Path.home() / ".sam-data-engine"


def model_roots(workspace: Path | None = None) -> list[Path]:
    """Where models are looked for, first found first: the workspace, the user's own, the built-in ones."""
    own = [] if workspace is None else [workspace / "models"]
    return [*own, user_models_root(), builtin_models_root()]


def check_name(root: Path, name: str, *, model_id: str = "") -> None:
    """Whether a new model may be saved under this name; to be asked before it is trained.

    model_id: of the new model, where it is known: it may have the name already.
    Raises InputError where the name cannot be a folder's, or where another model or another folder has it.
    """
    check_form(name)
    folder = root / name
    if (folder / CARD_FILE).is_file():
        existing = read_info(folder).model_id
        if existing != model_id:
            this = f", the new one {model_id}" if model_id else ""
            raise InputError(f"{folder}: another model has this name (id {existing}{this}); choose another name")
    elif folder.exists():
        raise InputError(f"{folder}: exists and is no model; choose another name, or move it away")


def list_models(roots: Sequence[Path]) -> list[ModelInfo]:
    """All models in these folders, by root and then by name. A damaged model is left out with a logged warning."""
    models = []
    for root in roots:
        for card_file in sorted(root.glob(f"[!.]*/{CARD_FILE}")):
            try:
                models.append(read_info(card_file.parent))
            except InputError as error:
                _log.warning("%s", error)
    return models


def find_model(name: str | Path, roots: Sequence[Path]) -> ModelInfo:
    """The model of that name or id (or its first 6 digits or more), or in that folder.

    Raises InputError listing the models there are.
    """
    models = list_models(roots)
    for model in models:
        if model.name == str(name):
            return model
    for model in models:
        if len(str(name)) >= _MIN_ID_DIGITS and model.model_id.startswith(str(name)):
            return model
    path = Path(name)
    if (path / CARD_FILE).is_file():
        return read_info(path)
    if path.is_file():
        raise InputError(f"{path}: a file, not a model; import it first with: sam-engine models import {path}")
    way_out = f"; get it with: sam-engine {_command_for(str(name))}" if str(name) in MODEL_SIZES else ""
    known = ", ".join(dict.fromkeys(model.name for model in models)) or "none"
    raise InputError(f"no model {str(name)!r}{way_out}; models here: {known}")


def _command_for(size: str) -> str:
    """What makes a model of a size."""
    if size in UNPUBLISHED:
        return f"train --size {size} --name {size} --coco FILE"
    return f"models fetch {size}" if size in FETCHED else "models import FILE, once you have its weights"


def beside(model: ModelInfo, roots: Sequence[Path], name: str) -> Path | None:
    """The file of that name beside a model, or beside the nearest one that it was trained from; None where there is
    none."""
    while True:
        file = model.folder / name
        if file.is_file():
            return file
        if not model.card.parent:
            return None
        try:
            model = find_model(model.card.parent, roots)
        except InputError:  # a parent that nobody kept
            return None


def read_info(folder: Path) -> ModelInfo:
    """What a model folder says about itself, without reading its weights.

    Raises InputError naming the file that is missing or broken.
    """
    card_values = _load_json(folder / CARD_FILE)
    config_values = _load_json(folder / CONFIG_FILE)
    if not (folder / WEIGHTS_FILE).is_file() and not (folder / WEIGHTS_URL_FILE).is_file():
        raise InputError(f"{folder / WEIGHTS_FILE}: no such file; the model is incomplete, get it again")
    unknown = card_values.keys() - {known.name for known in fields(ModelCard)}
    if unknown or not card_values.get("name") or not card_values.get("model_id"):
        problem = f"unknown keys {sorted(unknown)}" if unknown else "name or model_id is missing"
        raise InputError(f"{folder / CARD_FILE}: not a model card: {problem}")
    try:
        config = SamConfig.from_dict(config_values)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / CONFIG_FILE}: not a model's configuration: {error}") from error
    card = ModelCard(**card_values)
    return ModelInfo(card.model_id, folder, config, card)


def weights_file(model: ModelInfo) -> Path:
    """The file of a model's weights, which is fetched first where only its URL is here. Raises InputError where that
    fails."""
    file = model.folder / WEIGHTS_FILE
    if not file.exists():
        url = _load_json(model.folder / WEIGHTS_URL_FILE)["url"]
        try:
            copy_from_url(url, file)
        except Exception as error:  # each store has errors of its own
            raise InputError(f"{url}: cannot be fetched: {' '.join(str(error).split())}") from error
    return file


def check_form(name: str) -> None:
    """Raise InputError where a model's name cannot be a folder's."""
    if not _NAME_PATTERN.fullmatch(name):
        raise InputError(f"model name {name!r}: use letters, digits, '.', '_' and '-' only")


def _load_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; the model is incomplete, get it again") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def __getattr__(name: str) -> Any:
    """`load_model` and `save_model`, which were here before; only who asks for one waits for torch."""
    if name in ("load_model", "save_model"):
        from model import storage

        return getattr(storage, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
