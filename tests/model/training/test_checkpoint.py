"""Checkpoints on disk: the last two, whole or not there, and only for their own run."""

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.training.checkpoint import Checkpoints
from model.training.config import Phase, TrainingConfig
from schemas.errors import InputError
from tests.faults import check_power_cuts


def _config(**changes: object) -> TrainingConfig:
    phase = Phase(until=9, batch_size=1, masks_per_image=1, correction_points=0)
    return TrainingConfig.model_validate({"name": "test", "phases": (phase,)} | changes)


def _parts(value: float) -> dict[str, object]:
    model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.weight, value)
    return {"model": model, "average": {"weight": torch.full((2,), value)}}


def _weight(parts: dict[str, object]) -> float:
    model = parts["model"]
    assert isinstance(model, torch.nn.Linear)
    return model.weight[0, 0].item()


def _saved(folder: Path, *steps: int) -> Checkpoints:
    kept = Checkpoints(folder, _config(), data="these")
    for step in steps:
        kept.save(_parts(float(step)), step=step)
    return kept


def test_nothing_there_is_a_fresh_start(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", _config()).load(_parts(0.0)) == 0


def test_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    kept = _saved(tmp_path / "run", 1, 2, 3)
    assert [path.name[:13] for path in kept.files()] == ["step-00000003", "step-00000002"]
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")] == []
    parts = _parts(0.0)
    assert kept.load(parts) == 3
    assert _weight(parts) == 3
    assert parts["average"]["weight"].tolist() == [3, 3]  # type: ignore[index]


@pytest.mark.parametrize("harm", ["cut", "flip"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path: Path, harm: str) -> None:
    kept = _saved(tmp_path, 1, 2)
    newest, older = kept.files()
    content = bytearray(newest.read_bytes())
    if harm == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    parts = _parts(0.0)
    assert kept.load(parts) == 1
    assert _weight(parts) == 1
    older.write_bytes(b"")
    with pytest.raises(InputError, match=r"step-00000002-.*: damaged, and so are all beside it; delete"):
        kept.load(parts)


def test_a_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    kept = _saved(tmp_path, 1)
    before = kept.files()[0].read_bytes()
    with pytest.raises(InputError, match=r"written by a run with other lr, seed; use those, or delete"):
        Checkpoints(tmp_path, _config(lr=1.0, seed=4), data="these").load(_parts(0.0))
    with pytest.raises(InputError, match=r"written by a run on other data"):
        Checkpoints(tmp_path, _config(), data="those").load(_parts(0.0))
    assert kept.files()[0].read_bytes() == before


def test_other_files_of_the_folder_are_no_checkpoints(tmp_path: Path) -> None:
    kept = _saved(tmp_path, 1, 2)
    others = ["step-best.pt", "step-00000009-0123456789abcdef.pt.old", "step-9-0123456789abcdef.pt", "notes.txt"]
    for name in others:
        (tmp_path / name).write_bytes(b"of another program")
    assert [path.name[:13] for path in kept.files()] == ["step-00000002", "step-00000001"]
    kept.save(_parts(3.0), step=3)
    assert all((tmp_path / name).is_file() for name in others)


def test_a_file_says_its_run_as_json_would_and_its_name_says_its_content(tmp_path: Path) -> None:
    """So that a later version, or another program, can tell what it is."""
    path = _saved(tmp_path).save(_parts(4.0), step=12)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f"step-00000012-{digest[:16]}.pt"
    values = torch.load(path, weights_only=True)
    assert values.keys() == {"step", "config", "data", "model", "average"}
    assert (values["step"], values["data"]) == (12, "these")
    assert values["config"] == json.loads(_config().model_dump_json())


def test_an_old_one_that_is_gone_already_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, files = _saved(tmp_path, 1), Checkpoints.files
    monkeypatch.setattr(Checkpoints, "files", lambda self: [*files(self), tmp_path / "gone", tmp_path / "gone-too"])
    assert kept.save(_parts(2.0), step=2).is_file()


class _Program:
    """What a pickle can hold: a call that is made by whoever loads it."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._call = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def test_a_checkpoint_that_holds_a_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the environment asks torch to trust everything."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trace = tmp_path / "ran"
    kept = _saved(tmp_path)
    kept.save({"average": _Program(os.mkdir, str(trace))}, step=1)
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        kept.load(_parts(0.0))
    assert not trace.exists()


def test_one_that_was_written_with_a_gpu_can_be_read_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.serialization.location_tag", lambda _storage: "cuda:0")
    kept = _saved(tmp_path, 5)
    monkeypatch.undo()
    parts = _parts(0.0)
    assert kept.load(parts) == 5
    assert _weight(parts) == 5


def test_a_power_cut_while_one_is_written_costs_that_one_at_most(tmp_path: Path) -> None:
    check_power_cuts(
        tmp_path,
        lambda root: _saved(root / "run", 1, 2) and None,
        lambda root: _saved(root / "run", 3),
        lambda root: Checkpoints(root / "run", _config(), data="these").load(_parts(0.0)),
        old=2,
        new=3,
    )
