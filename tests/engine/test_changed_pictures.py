"""Files that were found to be others are read again only when they have changed."""

import os
import time
from pathlib import Path

import pytest

from engine import changed_pictures
from engine.changed_pictures import ChangedPictures
from engine.places import RemotePlace, place
from schemas.content_ids import content_id

CONTENT, OTHER = b"as it came in", b"as it is now!"
IMAGE = content_id(CONTENT)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    found: list[str] = []
    read = changed_pictures.read_bytes
    monkeypatch.setattr(changed_pictures, "read_bytes", lambda path: found.append(path.name) or read(path))
    monkeypatch.setattr(changed_pictures, "_SETTLED_S", 0.0)
    return found


def look(folder: Path) -> bool:
    known = ChangedPictures(place(folder / "cache" / "changed.json"))
    intact = known.is_intact(IMAGE, place(folder / "a.png"))
    known.write()
    return intact


def test_one_that_is_another_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a.png").write_bytes(OTHER)
    time.sleep(0.01)
    assert [look(tmp_path) for _ in range(3)] == [False] * 3
    assert len(reads) == 1
    (tmp_path / "cache" / "changed.json").unlink()
    assert not look(tmp_path)
    assert len(reads) == 2


def test_one_that_was_put_back_is_found_even_with_equal_times(tmp_path: Path, reads: list[str]) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(OTHER)
    time.sleep(0.01)
    assert not look(tmp_path)
    before = picture.stat()
    picture.write_bytes(CONTENT)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [look(tmp_path), look(tmp_path)] == [True, True], "one that is intact is read each time"
    assert len(reads) == 3


def test_one_that_is_missing_or_cannot_be_read_is_looked_for_each_time(tmp_path: Path, reads: list[str]) -> None:
    picture = tmp_path / "a.png"
    assert not look(tmp_path)
    picture.mkdir()  # no file can be read there
    assert not look(tmp_path)
    picture.rmdir()
    picture.write_bytes(CONTENT)
    assert look(tmp_path)
    assert len(reads) == 3


def test_one_that_was_changed_just_now_may_change_again(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changed_pictures, "_SETTLED_S", 60.0)
    (tmp_path / "a.png").write_bytes(OTHER)
    assert [look(tmp_path), look(tmp_path)] == [False, False]
    assert len(reads) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"1": 3}'])
def test_a_damaged_cache_knows_nothing(tmp_path: Path, reads: list[str], content: str) -> None:
    (tmp_path / "a.png").write_bytes(CONTENT)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "changed.json").write_text(content)
    assert look(tmp_path)


def test_one_in_an_object_store_is_read_each_time(tmp_path: Path, reads: list[str]) -> None:
    picture = RemotePlace("memory://pictures/a.png")
    picture.write(OTHER)
    known = ChangedPictures(place(tmp_path / "changed.json"))
    assert [known.is_intact(IMAGE, picture) for _ in range(2)] == [False, False]
    assert len(reads) == 2
