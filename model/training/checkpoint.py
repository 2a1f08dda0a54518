"""Checkpoints of a running training: whole or not there, checked when read, and only for the run that wrote them."""

import hashlib
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model.files import write_atomic
from model.training.config import TrainingConfig
from schemas.errors import InputError

KEPT = 2
_NAME = re.compile(r"step-(\d{8})-([0-9a-f]{16})\.pt")
_DIGEST_DIGITS = 16
_LATER = ("bad",)  # parts that a checkpoint need not have
_log = logging.getLogger(__name__)


class Checkpoints:
    """The last two checkpoints of one training, in a folder of their own.

    A file's name carries its step and the start of its SHA-256, so that one that was damaged later is recognised and
    the one before it is used.
    """

    def __init__(self, folder: Path, config: TrainingConfig, *, data: str = "") -> None:
        """config, data: what the run is told and what it learns from; a checkpoint of another run is refused."""
        self.folder = folder
        self._config = config.model_dump(mode="json")
        self._data = data

    def save(self, parts: Mapping[str, Any], *, step: int) -> Path:
        """Write what `parts` hold after `step` steps, each as its `state_dict()` or as the tensors that it is.

        The file appears whole or not at all; then the oldest goes, so that two stay.
        """
        buffer = io.BytesIO()
        torch.save(
            {
                "step": step,
                "config": self._config,
                "data": self._data,
                **{name: _state(part) for name, part in parts.items()},
            },
            buffer,
        )
        content = buffer.getbuffer()
        digest = hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]
        path = self.folder / f"step-{step:08d}-{digest}.pt"
        write_atomic(path, content)
        for old in self.files()[KEPT:]:
            old.unlink(missing_ok=True)
        return path

    def load(self, parts: Mapping[str, Any]) -> int:
        """Put the newest whole checkpoint back into `parts`. Returns how many steps it has behind it; 0 where none is.

        Raises InputError where it is of a run with other settings or data, or where none that is there is whole.
        """
        files = self.files()
        for path in files:
            values = _read(path)
            if values is None:
                _log.warning("%s: damaged; going on from the checkpoint before it", path)
                continue
            self._check_run(path, values)
            for name, part in parts.items():
                if name in values or name not in _LATER:
                    _restore(part, values[name])
            return int(values["step"])
        if files:
            raise InputError(f"{files[0]}: damaged, and so are all beside it; delete {self.folder} to start anew")
        return 0

    def files(self) -> list[Path]:
        """What is there, newest first."""
        return sorted((path for path in self.folder.glob("step-*.pt") if _NAME.fullmatch(path.name)), reverse=True)

    def _check_run(self, path: Path, values: Mapping[str, Any]) -> None:
        if changed := changed_settings(self._config, values["config"]):
            raise InputError(
                f"{path}: written by a run with other {', '.join(changed)}; use those, or delete {self.folder}"
            )
        if values["data"] != self._data:
            raise InputError(f"{path}: written by a run on other data; use that, or delete {self.folder}")


def changed_settings(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The settings in which two runs differ, sorted; each run's as JSON would hold them."""
    return sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))


def _read(path: Path) -> dict[str, Any] | None:
    """The values of a checkpoint; None where its content is not what its name says."""
    found = _NAME.fullmatch(path.name)
    content = path.read_bytes()
    if found is None or hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS] != found[2]:
        return None
    values: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    return values


def _state(part: Any) -> Any:
    return part.state_dict() if hasattr(part, "state_dict") else part


def _restore(part: Any, values: Any) -> None:
    if hasattr(part, "load_state_dict"):
        part.load_state_dict(values)
        return
    for name, tensor in part.items():
        tensor.copy_(values[name])
