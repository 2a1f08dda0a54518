"""Files of the engine: as in `model.files`, with the disk's errors in one line, and locks and logs."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from filelock import lock_descriptor, unlock_descriptor

from model import files
from model.files import TEMP_SUFFIX as TEMP_SUFFIX
from model.files import file_sha256 as file_sha256
from model.files import fsync_folder as fsync_folder
from model.files import make_folder as make_folder
from model.files import publish as publish
from model.files import remove_abandoned as remove_abandoned
from model.files import remove_unfinished as remove_unfinished
from schemas.errors import InputError, WaitError

_WAY_OUT = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the disk is read-only; choose a workspace elsewhere",
    errno.EACCES: "no permission to write; change the permissions or choose a workspace elsewhere",
    errno.EPERM: "no permission to write; change the permissions or choose a workspace elsewhere",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}
_OF_THE_DISK = (errno.EIO, errno.ESTALE)  # it may answer again, so a flow tries again
_ANYBODY = 0o666


@contextmanager
def atomic_file(path: Path, *, sync_folder: bool = True, mode: int = _ANYBODY) -> Iterator[BinaryIO]:
    """As `model.files.atomic_file`. Raises InputError if the disk is full or not writable."""
    with storage_errors(path), files.atomic_file(path, sync_folder=sync_folder, mode=mode) as file:
        yield file


def nameless_file() -> IO[bytes]:
    """A new file for writing and reading that is gone once it is closed; it lies in memory where the system can do that
    (Linux), else in its folder for temporary files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("nameless"), "w+b")
    return tempfile.TemporaryFile()


def write_atomic(path: Path, data: bytes, *, sync_folder: bool = True) -> None:
    """As `model.files.write_atomic`. Raises InputError if the disk is full or not writable."""
    with atomic_file(path, sync_folder=sync_folder) as file:
        file.write(data)


def append_line(path: Path, line: bytes) -> None:
    """Write one line, whole: it survives the process, though not a power cut. Several threads and
    processes may do so at once.

    Raises InputError if the disk is full or not writable.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            lock_descriptor(descriptor, blocking=True)  # a line that another is writing may be seen in part
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # the line before was cut off; this one must not be lost with it
            if os.write(descriptor, line + b"\n") != len(line) + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            unlock_descriptor(descriptor)  # closing alone would not, if a process was forked meanwhile
            os.close(descriptor)


def last_lines(path: Path, *, at_most_bytes: int) -> list[bytes]:
    """The last whole lines of a file, as many as fit. Raises FileNotFoundError where there is none."""
    with path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - at_most_bytes)
        file.seek(start)
        lines = file.read().split(b"\n")
    return lines[1:] if start else lines


def lines_since(path: Path, start: int) -> list[bytes]:
    """The whole lines of a file that begin at byte `start` or behind it; a last one without an end is left out."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read().split(b"\n")[:-1]


def first_line(path: Path) -> bytes:
    """The first line of a file with its end, without which it is still being written."""
    with path.open("rb") as file:
        return file.readline()


def open_lock(path: Path) -> IO[str]:
    """A lock file, open and not yet locked; its lock lives until the last process that has it open ends, however it
    ends. Raises InputError if the disk is full or not writable."""
    with storage_errors(path):
        make_folder(path.parent)
        return path.open("a+", encoding="utf-8")


def take(lock: IO[str], *, wait: bool = False) -> bool:
    """Lock an open lock file. False where another holds it and we do not wait."""
    return lock_descriptor(lock.fileno(), blocking=wait)


@contextmanager
def only_one(path: Path, *, busy: str) -> Iterator[None]:
    """Hold a lock file. Raises WaitError, which says `busy`, where another process holds it."""
    with open_lock(path) as lock:
        if not take(lock):
            raise WaitError(busy)
        yield


@contextmanager
def storage_errors(path: object) -> Iterator[None]:
    """Turn a full disk and the like into an InputError that names `path`; a disk that does not answer is an OSError
    that names a path, and all else passes.

    The storage libraries beneath Delta report such errors as text only ("... (os error 28)"), so that is read too.
    """
    try:
        yield
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else None
        if code is None and (found := re.search(r"os error (\d+)", str(error))):
            code = int(found.group(1))
        if code in _WAY_OUT:
            raise InputError(f"{path}: {_WAY_OUT[code]}") from error
        if code in _OF_THE_DISK and not (isinstance(error, OSError) and error.filename):
            raise OSError(code, os.strerror(code), str(path)) from error
        raise
