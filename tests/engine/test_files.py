import errno
from pathlib import Path

import pytest

from engine.files import storage_errors, write_atomic
from schemas.errors import InputError


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
