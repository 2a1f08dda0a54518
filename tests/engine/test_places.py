"""Places on a disk and in memory behave alike, except where a disk is needed."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from engine.places import Place, copy, full_name, is_relative, place, scratch_folder
from schemas.errors import InputError, WaitError
from tests.faults import VARIANTS, check_power_cuts


@pytest.fixture(params=["folder", "url"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place(tmp_path / "w" if request.param == "folder" else f"memory://{uuid4().hex}/w")


def test_what_is_written_is_read(root: Place) -> None:
    file = root / "reports" / "rounds.md"
    assert not file.exists()
    file.write("läuft".encode())
    file.write("läuft.".encode())
    assert file.exists()
    assert root.exists()
    assert file.text() == "läuft."
    assert file.name == "rounds.md"
    assert str(file) == f"{root}/reports/rounds.md"


def test_reading_what_is_not_there(root: Place) -> None:
    with pytest.raises(FileNotFoundError):
        (root / "engine.yaml").read()


def test_finding_is_sorted_and_by_pattern(root: Place) -> None:
    for name in ("b/card.json", "a/card.json", "a/weights", ".c/card.json"):
        (root / name).write(b"x")
    assert root.find("[!.]*/card.json") == [root / "a" / "card.json", root / "b" / "card.json"]
    assert root.find("none-*") == []
    assert (root / "nowhere").find("*") == []


def test_removing_files_and_folders_and_nothing(root: Place) -> None:
    for name in ("a/1", "a/b/2", "c"):
        (root / name).write(b"x")
    (root / "a" / "b" / "2").remove()
    (root / "c").remove()
    (root / "c").remove()
    assert not (root / "a" / "b" / "2").exists()
    (root / "a").remove()
    assert not (root / "a" / "1").exists()
    assert not (root / "c").exists()


def test_a_place_is_known_by_its_text(root: Place) -> None:
    assert place(str(root / "a")) == root / "a"
    assert len({root / "a", place(str(root)) / "a", root / "b"}) == 2


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    file = place(tmp_path / "folder")
    file.make_folder()
    with pytest.raises(OSError, match="directory"):
        file.write(b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_only_a_disk_has_local_paths(tmp_path: Path) -> None:
    assert place(tmp_path).local_path("a lock") == tmp_path
    with pytest.raises(InputError, match=r"memory://w/x: a lock must lie on a disk .* workspace that is a folder"):
        (place("memory://w/") / "x").local_path("a lock")


def test_only_a_disk_has_files_that_grow(tmp_path: Path) -> None:
    log = place(tmp_path / "prompts" / "1.jsonl")
    log.append_line(b"one")
    log.append_line(b"two")
    assert log.read() == b"one\ntwo\n"
    with pytest.raises(InputError, match="a log that grows line by line must lie on a disk"):
        place("memory://w/1.jsonl").append_line(b"one")


def test_a_writer_that_fails_leaves_what_was_there(root: Place) -> None:
    file = root / "figures.png"
    file.write(b"before")
    with suppress(RuntimeError), file.writing() as opened:
        opened.write(b"half")
        raise RuntimeError
    assert file.read() == b"before"
    assert root.find("*") == [file]
    with file.writing() as opened:
        opened.write(b"one, ")
        opened.write(b"two")
    assert (file.read(), file.size(), (root / "none").size()) == (b"one, two", 8, None)


def test_locks_are_of_this_machine(root: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    lock = root / ".lock"
    with lock.only_one(busy="another"), pytest.raises(WaitError, match=r"^another$"), lock.only_one(busy="another"):
        pass
    with lock.only_one(busy="another"):
        pass
    assert lock.on_disk().is_file()
    assert lock.on_disk().is_relative_to(tmp_path)


def test_a_link_is_removed_and_not_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    os.symlink(tmp_path / "kept", tmp_path / "link")
    place(tmp_path / "link").remove()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").exists()


def test_an_unknown_kind_of_url_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^nowhere://w: cannot be opened: .*nowhere"):
        place("nowhere://w").exists()


def test_what_was_written_is_there_after_a_power_cut(tmp_path: Path) -> None:
    def write(root: Path) -> None:
        place(root / "reports" / "rounds.md").write(b"new")
        with place(root / "rounds.png").writing() as file:
            file.write(b"new")

    def read(root: Path) -> list[bytes]:
        return [
            file.read() for file in (place(root / "reports" / "rounds.md"), place(root / "rounds.png")) if file.exists()
        ]

    whole = tmp_path / "whole"
    check_power_cuts(tmp_path, lambda root: None, write, lambda root: read(root)[:1], old=[], new=[b"new"])
    assert [read(whole / names) for names in VARIANTS] == [[b"new", b"new"]] * 2


def test_a_folder_made_is_there_after_a_power_cut(tmp_path: Path) -> None:
    check_power_cuts(
        tmp_path,
        lambda root: None,
        lambda root: place(root / "a" / "b").make_folder(),
        lambda root: (root / "a" / "b").is_dir(),
        old=False,
        new=True,
    )


def test_what_is_written_without_a_sync_of_the_folder_is_there_after_it(tmp_path: Path) -> None:
    def write(root: Path) -> None:
        for name in ("1", "2"):
            (place(root) / name).write(b"x", sync_folder=False)
        place(root).sync()

    calls = check_power_cuts(
        tmp_path,
        lambda root: None,
        write,
        lambda root: (root / "2").exists() and (root / "1").read_bytes() == b"x",
        old=False,
        new=True,
    )
    assert calls.count(("fsync", ".")) == 1


def test_what_a_place_holds_is_copied_whole(root: Place, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20
    (root / "a" / "file").write(content)
    for target in (place(tmp_path / "there" / "copy"), place(f"memory://{uuid4().hex}/copy")):
        copy(root / "a" / "file", target)
        assert target.read() == content
        with pytest.raises(FileNotFoundError):
            copy(root / "none", target)
        assert target.read() == content


def test_a_file_is_read_from_anywhere_in_it(root: Place) -> None:
    (root / "file").write(b"0123456789")
    with (root / "file").opened() as file:
        file.seek(7)
        assert file.read(2) == b"78"
        assert file.seek(-1, os.SEEK_END) == 9
        assert file.read() == b"9"
    with pytest.raises(FileNotFoundError), (root / "none").opened():
        pass


def test_only_files_have_a_size(root: Place) -> None:
    (root / "folder" / "file").write(b"123")
    assert ((root / "folder" / "file").size(), (root / "folder").size(), (root / "none").size()) == (3, None, None)
    (root / "folder" / "file").write(b"")
    assert (root / "folder" / "file").size() == 0


def test_a_folder_can_be_made_whether_it_is_there_or_not(root: Place) -> None:
    for _ in range(2):
        (root / "a" / "b").make_folder()
        (root / "a" / "b").sync()
    (root / "a" / "b" / "file").write(b"x", sync_folder=False)
    assert (root / "a" / "b" / "file").exists()


def test_folders_of_a_url_that_has_some_are_made(tmp_path: Path) -> None:
    there = place(f"file://{tmp_path}/w")
    (there / "a" / "b" / "one").write(b"1")
    with (there / "c" / "d" / "two").writing() as file:
        file.write(b"2")
    assert (tmp_path / "w" / "a" / "b" / "one").read_bytes() == b"1"
    assert (tmp_path / "w" / "c" / "d" / "two").read_bytes() == b"2"
    assert there.find("*/*/*") == [there / "a/b/one", there / "c/d/two"]


def test_what_writers_left_is_removed(tmp_path: Path) -> None:
    for name in ("a/.file.0123abcd.tmp", "a/file", "a/other.tmp"):
        place(tmp_path / name).write(b"x")
    place(tmp_path).remove_unfinished()
    assert place(tmp_path).find("a/*") == [place(tmp_path / "a" / "file"), place(tmp_path / "a" / "other.tmp")]
    place("memory://w").remove_unfinished()


def test_a_scratch_folder_is_gone_afterwards() -> None:
    with scratch_folder() as folder:
        (folder / "file").touch()
        assert [path.name for path in folder.iterdir()] == ["file"]
    assert not folder.exists()


def test_where_this_machine_keeps_what_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    assert place(tmp_path / "w").on_disk() == tmp_path / "w"
    assert place("s3://bucket/w").on_disk() == tmp_path / "home" / "remote" / "s3" / "bucket" / "w"


def test_names_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [place(text).name for text in ("a/b", ".", "memory://w/a/")] == ["b", tmp_path.name, "a"]
    assert [str(place(text)) for text in ("a/b", Path("a/b"), "memory://w/a/")] == ["a/b", "a/b", "memory://w/a"]
    assert place(place("a")) == place("a") < place("b")
    assert (full_name(place("a/../b")), full_name(place("memory://w"))) == (str(tmp_path / "b"), "memory://w")
    paths = {"a/b.png": True, "../b": True, "/a/b.png": False, "memory://w/b": False, "s3://w/b": False}
    assert {path: is_relative(path) for path in paths} == paths
