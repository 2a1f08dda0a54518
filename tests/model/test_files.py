"""Everything that takes its name at the end, on a disk that fails and loses power."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from model.files import atomic_file, atomic_folder, make_folder, publish, remove_unfinished, write_atomic, write_new
from tests.faults import check_failures, check_power_cuts

OLD, NEW = b"old" * 1000, b"new" * 1000
Step = Callable[[Path], None]


def nothing(root: Path) -> None:
    pass


def old_file(root: Path) -> None:
    (root / "file").write_bytes(OLD)


def old_part(root: Path) -> None:
    (root / "part").write_bytes(NEW)


def whole(root: Path) -> None:
    write_atomic(root / "file", NEW)


def piece_by_piece(root: Path) -> None:
    with atomic_file(root / "file") as file:
        for _ in range(1000):
            file.write(b"new")


def in_new_folders(root: Path) -> None:
    write_atomic(root / "a" / "b" / "file", NEW)


def a_part(root: Path) -> None:
    if (root / "part").exists():
        publish(root / "part", root / "file")


def a_folder(root: Path) -> None:
    if not (root / "made").exists():
        with atomic_folder(root / "made") as folder:
            (folder / "inside").mkdir()
            (folder / "inside" / "file").write_bytes(NEW)
            (folder / "file").write_bytes(NEW)


def read_file(root: Path) -> bytes | None:
    path = root / "file"
    return path.read_bytes() if path.exists() else None


def read_deep(root: Path) -> bytes | None:
    path = root / "a" / "b" / "file"
    return path.read_bytes() if path.exists() else None


def read_folder(root: Path) -> list[bytes] | None:
    paths = [root / "made" / "inside" / "file", root / "made" / "file"]
    return [path.read_bytes() if path.exists() else b"missing" for path in paths] if (root / "made").exists() else None


WRITERS = {
    "a new file": (nothing, whole, read_file, None, NEW),
    "a file replaced": (old_file, whole, read_file, OLD, NEW),
    "a file piece by piece": (old_file, piece_by_piece, read_file, OLD, NEW),
    "a file in new folders": (nothing, in_new_folders, read_deep, None, NEW),
    "a file that came in parts": (old_part, a_part, read_file, None, NEW),
    "a folder": (nothing, a_folder, read_folder, None, [NEW, NEW]),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_after_a_power_cut_there_is_the_old_or_the_new(writer: str, tmp_path: Path) -> None:
    prepare, write, read, old, new = WRITERS[writer]
    check_power_cuts(tmp_path, prepare, write, read, old=old, new=new)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_failure_leaves_the_old_or_the_new_and_nothing_beside_it(writer: str, tmp_path: Path) -> None:
    prepare, write, read, old, new = WRITERS[writer]
    check_failures(tmp_path, prepare, write, read, old=old, new=new)


def test_the_order_of_a_write(tmp_path: Path) -> None:
    calls = check_power_cuts(tmp_path, nothing, whole, read_file, old=None, new=NEW)
    (synced, temp), *rest = calls
    assert synced == "fsync"
    assert temp.startswith(".file.")
    assert rest == [("rename", "file"), ("fsync", ".")]


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    a_folder(tmp_path)
    with pytest.raises(FileExistsError, match="made"), atomic_folder(tmp_path / "made") as folder:
        (folder / "file").write_bytes(OLD)
    assert read_folder(tmp_path) == [NEW, NEW]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_an_error_of_the_writer_leaves_nothing(tmp_path: Path) -> None:
    with suppress(KeyError), atomic_file(tmp_path / "file") as file:
        file.write(NEW)
        raise KeyError
    with suppress(KeyError), atomic_folder(tmp_path / "folder") as folder:
        write_atomic(folder / "file", NEW)
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_nobody_else_reads_a_private_file_even_while_it_is_written(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file", mode=0o600) as file:
        assert Path(f"/proc/self/fd/{file.fileno()}").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.1234.tmp", "kept.tmp", ".kept", "inside/.b.1234.tmp"):
        write_atomic(tmp_path / name, b"x")
    remove_unfinished(tmp_path, older_than_s=3600)
    assert len(list(tmp_path.rglob("*.tmp"))) == 3
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".kept", "inside", "kept.tmp"]


def test_making_a_folder_that_is_there(tmp_path: Path) -> None:
    make_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_one_writes_a_file_that_is_new(tmp_path: Path) -> None:
    assert write_new(tmp_path / "file", NEW)
    assert not write_new(tmp_path / "file", OLD)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.parametrize(
    "write",
    [
        lambda root: write_atomic(root / "file", NEW),
        lambda root: write_new(root / "file", NEW),
        lambda root: make_folder(root / "file"),
    ],
)
def test_an_error_of_the_disk_names_the_file(write: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says of an open file, as in fsync, names none."""

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(tmp_path)
    assert Path(caught.value.filename) in (tmp_path, tmp_path / "file")


def test_an_error_that_is_not_of_the_disk_stays_as_it_is(tmp_path: Path) -> None:
    error = ConnectionResetError(errno.ECONNRESET, "reset")
    with pytest.raises(ConnectionResetError) as caught, atomic_file(tmp_path / "file"):
        raise error
    assert caught.value is error
