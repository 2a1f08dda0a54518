"""Files that are whole or not there, and storage errors in one line."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import InputError

_WAY_OUT = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the disk is read-only; choose a workspace elsewhere",
    errno.EACCES: "no permission to write; change the permissions or choose a workspace elsewhere",
    errno.EPERM: "no permission to write; change the permissions or choose a workspace elsewhere",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}
TEMP_SUFFIX = ".tmp"


def write_atomic(path: Path, data: bytes, *, sync_folder: bool = True) -> None:
    """Write a file so that readers see all of it or nothing, also after a power cut: temp name, fsync, rename.

    Makes missing folders. With sync_folder=False the caller syncs the folder later, once for many files.
    Raises InputError if the disk is full or not writable.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMP_SUFFIX}")
        try:
            with temp.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)
        if sync_folder:
            fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk and the like into an InputError that names `path`; other errors pass.

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
        raise
