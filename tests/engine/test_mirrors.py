"""Folders that are read from a disk, of a workspace at a URL."""

from pathlib import Path
from uuid import uuid4

import pytest

from engine.mirrors import folder_here, put_folder
from engine.places import Place, place


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    return place(f"memory://{uuid4().hex}/detectors/key")


def test_a_folder_on_a_disk_is_itself(tmp_path: Path) -> None:
    assert folder_here(place(tmp_path)) == tmp_path
    put_folder(tmp_path / "nowhere", place(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_copied_there_and_on_another_machine_back(
    there: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("card.json", "weights"):
        (place(tmp_path / "made") / name).write(name.encode())
    put_folder(tmp_path / "made", there)
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "other"))
    here = folder_here(there)
    assert here.is_relative_to(tmp_path / "other")
    assert {path.name: path.read_bytes() for path in here.iterdir()} == {
        "card.json": b"card.json",
        "weights": b"weights",
    }


def test_the_card_goes_last(there: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "card.json", "weights"):
        (place(tmp_path / "made") / name).write(b"x")
    gone: list[str] = []
    monkeypatch.setattr("engine.mirrors.copy", lambda source, target: gone.append(target.name))
    put_folder(tmp_path / "made", there)
    assert gone == ["a", "weights", "card.json"]


def test_a_folder_without_its_card_is_not_taken(there: Place) -> None:
    (there / "weights").write(b"half")
    assert not folder_here(there).exists()
