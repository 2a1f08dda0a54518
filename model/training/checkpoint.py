"""Checkpoints of a running training: whole or not there, and only for the run that wrote them."""

import os
from pathlib import Path
from typing import Any

import torch

from model.training.config import TrainingConfig
from schemas.errors import InputError


def save_checkpoint(path: Path, state: dict[str, Any], config: TrainingConfig, *, step: int) -> None:
    """Write the state after `step` steps: to a temporary name, synced, then renamed over the last one."""
    values = {
        "step": step,
        "config": config.model_dump(mode="json"),
        "model": state["model"].state_dict(),
        "optimizer": state["optimizer"].state_dict(),
        "ema": state["ema"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save(values, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, state: dict[str, Any], config: TrainingConfig) -> int:
    """Put a checkpoint back into the parts of a run. Returns how many steps it has behind it.

    Raises InputError where the file cannot be read or was written by a run with other settings.
    """
    try:
        values = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise InputError(f"{path}: not a readable checkpoint ({error}); delete it to start anew") from error
    mine = config.model_dump(mode="json")
    changed = sorted(key for key in mine.keys() | values["config"].keys() if mine.get(key) != values["config"].get(key))
    if changed:
        raise InputError(f"{path}: written by a run with other {', '.join(changed)}; use those, or delete it")
    state["model"].load_state_dict(values["model"])
    state["optimizer"].load_state_dict(values["optimizer"])
    if state["ema"] is not None:
        for name, average in state["ema"].items():
            average.copy_(values["ema"][name])
    return int(values["step"])
