"""Checkpoints of a workspace at a URL go there and come back."""

from pathlib import Path
from uuid import uuid4

import pytest

from engine.checkpoints import CheckpointsAt
from engine.places import place

OLD, MIDDLE, NEW = (f"step-0000000{step}-0123456789abcdef.pt" for step in (1, 2, 3))


def test_on_a_disk_there_is_nothing_to_copy(tmp_path: Path) -> None:
    (tmp_path / OLD).write_bytes(b"1")
    kept = CheckpointsAt(place(tmp_path))
    kept.fetch()
    kept.put()
    assert (kept.folder, [path.name for path in tmp_path.iterdir()]) == (tmp_path, [OLD])


def test_another_machine_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = place(f"memory://{uuid4().hex}/models/.training/key")
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "one"))
    first = CheckpointsAt(there)
    for name in (OLD, MIDDLE):
        place(first.folder / name).write(name.encode())
    first.put()
    (first.folder / OLD).unlink()
    place(first.folder / NEW).write(NEW.encode())
    first.put()
    assert [found.name for found in there.find("*")] == [MIDDLE, NEW]

    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "two"))
    second = CheckpointsAt(there)
    place(second.folder / OLD).write(b"of a run that this machine began")
    second.fetch()
    found = {path.name: path.read_bytes() for path in second.folder.iterdir()}
    assert found == {MIDDLE: MIDDLE.encode(), NEW: NEW.encode()}
    second.remove()
    assert there.find("*") == []
    assert not second.folder.exists()
