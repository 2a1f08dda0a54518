import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.files import (
    append_line,
    atomic_file,
    first_line,
    last_lines,
    lines_since,
    nameless_file,
    only_one,
    open_lock,
    storage_errors,
    take,
    write_atomic,
)
from schemas.errors import InputError, WaitError
from tests.faults import Disk, check_power_cuts


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.bin"
    write_atomic(path, b"first")
    write_atomic(path, b"second", sync_folder=False)
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(target, b"data")
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Generic LocalFileSystem error: Unable to copy data: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_that_names_the_path(error: Exception) -> None:
    with pytest.raises(InputError) as caught, storage_errors(Path("tables/images")):
        raise error
    assert str(caught.value) == "tables/images: the disk is full; free some space and run the same command again"


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), storage_errors(Path("x")):
        raise KeyError("x")


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_was_written_is_there_after_a_power_cut(tmp_path: Path) -> None:
    calls = check_power_cuts(
        tmp_path,
        lambda root: None,
        lambda root: write_atomic(root / "file.bin", b"data"),
        lambda root: (root / "file.bin").read_bytes() if (root / "file.bin").exists() else None,
        old=None,
        new=b"data",
    )
    assert calls[-2:] == [("rename", "file.bin"), ("fsync", ".")]


def test_the_folder_is_synced_unless_the_caller_does_it(tmp_path: Path) -> None:
    def syncs(**options: bool) -> int:
        disk = Disk(tmp_path)
        with disk.watched():
            write_atomic(tmp_path / "written", b"x", **options)
            with atomic_file(tmp_path / "opened", **options) as file:
                file.write(b"x")
        disk.close()
        return disk.calls.count(("fsync", "."))

    assert (syncs(), syncs(sync_folder=True), syncs(sync_folder=False)) == (2, 2, 0)


@pytest.mark.usefixtures("no_umask")
def test_who_may_read_a_file(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "anybody") as file:
        file.write(b"x")
    with atomic_file(tmp_path / "mine", mode=0o600) as file:
        file.write(b"x")
    append_line(tmp_path / "log", b"x")
    assert [mode_of(tmp_path / name) for name in ("anybody", "mine", "log")] == [0o666, 0o600, 0o644]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run the same command again"),
        (errno.EDQUOT, "the disk quota is used up; free some space and run the same command again"),
        (errno.EROFS, "the disk is read-only; choose a workspace elsewhere"),
        (errno.EACCES, "no permission to write; change the permissions or choose a workspace elsewhere"),
        (errno.EPERM, "no permission to write; change the permissions or choose a workspace elsewhere"),
        (errno.EMFILE, "too many open files; raise the limit (ulimit -n)"),
    ],
)
def test_each_trouble_with_the_disk_has_its_way_out(code: int, said: str) -> None:
    for error in (OSError(code, os.strerror(code)), RuntimeError(f"cannot write (os error {code}) there")):
        with pytest.raises(InputError) as caught, storage_errors("tables"):
            raise error
        assert str(caught.value) == f"tables: {said}"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), RuntimeError("gone (os error 5)")])
def test_a_disk_that_does_not_answer_is_named(error: Exception) -> None:
    with pytest.raises(OSError, match="Input/output error: 'tables'") as caught, storage_errors("tables"):
        raise error
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, "tables")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken", "file"), OSError("no number"), RuntimeError("x")])
def test_what_nobody_can_help_with_passes_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_errors("tables"):
        raise error
    assert caught.value is error


def test_lines_are_added_whole_and_in_folders_that_were_missing(tmp_path: Path) -> None:
    path = tmp_path / "labeling" / "prompts" / "1.jsonl"
    append_line(path, b"one")
    append_line(path, b"")
    append_line(path, b"two")
    assert path.read_bytes() == b"one\n\ntwo\n"


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    append_line(path, b"three")
    append_line(path, b"four")
    assert path.read_bytes() == b"one\ntw\nthree\nfour\n"
    path.write_bytes(b"")
    append_line(path, b"one")
    assert path.read_bytes() == b"one\n"


def test_a_line_that_does_not_fit_on_the_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "write", lambda descriptor, data: len(data) - 1)
    with pytest.raises(InputError, match=r"log: the disk is full"):
        append_line(tmp_path / "log", b"one")
    assert len(os.listdir("/proc/self/fd")) == open_before
    monkeypatch.undo()
    append_line(tmp_path / "log", b"one")
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_lines_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    path, long = tmp_path / "log", 2000

    def add(letter: bytes) -> None:
        for _ in range(50):
            append_line(path, letter * long)

    threads = [threading.Thread(target=add, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_bytes().split(b"\n")
    assert sorted(lines) == [b"", *[b"a" * long] * 50, *[b"b" * long] * 50]


@pytest.mark.parametrize(
    ("fit", "found"),
    [
        (100, [b"a", b"bb", b"ccc", b""]),
        (9, [b"a", b"bb", b"ccc", b""]),
        (8, [b"bb", b"ccc", b""]),
        (5, [b"ccc", b""]),
        (4, [b""]),  # whether "ccc" is whole cannot be told any more
        (1, [b""]),
    ],
)
def test_the_last_lines_that_fit(tmp_path: Path, fit: int, found: list[bytes]) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\nbb\nccc\n")
    assert last_lines(path, at_most_bytes=fit) == found


def test_lines_since_a_place_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\nbb\ncc")
    assert lines_since(path, 0) == [b"a", b"bb"]
    assert lines_since(path, 2) == [b"bb"]
    assert lines_since(path, 5) == []
    assert first_line(path) == b"a\n"
    path.write_bytes(b"half")
    assert first_line(path) == b"half"


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    for read in (lambda path: last_lines(path, at_most_bytes=9), lambda path: lines_since(path, 0), first_line):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "log")


def test_a_lock_is_held_by_one_and_given_on(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with open_lock(path) as first, open_lock(path) as second:
        assert take(first)
        assert not take(second)
        assert not take(second, wait=False)
    with open_lock(path) as third:
        assert take(third)


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    first, second, got = open_lock(tmp_path / ".lock"), open_lock(tmp_path / ".lock"), threading.Event()
    assert take(first)

    def wait() -> None:
        if take(second, wait=True):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.2)
    first.close()
    assert got.wait(10)
    thread.join()
    second.close()


def test_what_stands_in_a_lock_file_stays(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("123")
    with open_lock(tmp_path / ".lock") as lock:
        lock.seek(0)
        assert lock.read() == "123"


def test_only_one_at_a_time_and_the_other_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with only_one(path, busy="somebody else is here"):
        with pytest.raises(WaitError, match=r"^somebody else is here$"), only_one(path, busy="somebody else is here"):
            pytest.fail("two at a time")
        assert path.exists()
    with only_one(path, busy="nobody"):
        pass


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_nameless_file_is_one_of_the_system_s_and_gone_when_it_is_closed(
    in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    with nameless_file() as file:
        file.write(b"abc")
        file.seek(0)
        assert file.read() == b"abc"
        assert os.fstat(file.fileno()).st_size == 3
    assert list(tmp_path.iterdir()) == []
