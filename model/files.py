"""Files that are whole or not there, also after a power cut: the one place that gives finished work its name.

Always in the same order: written under a temporary name in the same folder, synced, renamed, and the folder synced.
Errors of the disk are OSErrors here; `engine.files` says them in one line.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMP_SUFFIX = ".tmp"
_WRITER = re.compile(rf"\.(\d+)-[0-9a-f]{{8}}{re.escape(TEMP_SUFFIX)}$")
_ANYBODY = 0o666  # less the user's umask
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


@contextmanager
def atomic_file(path: Path, *, sync_folder: bool = True, mode: int = _ANYBODY) -> Iterator[BinaryIO]:
    """A file to write, which takes its name when the block ends without an error; otherwise nothing is left of it.

    Makes missing folders. With sync_folder=False the caller syncs the folder later, once for many files. mode: who may
    read it, from the first moment on.
    """
    make_folder(path.parent, sync=sync_folder)
    temp = _temp_beside(path)
    try:
        with _naming(path), os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(temp, path, is_synced=True, sync_folder=sync_folder)
    finally:
        temp.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | memoryview, *, sync_folder: bool = True) -> None:
    """Write a file so that readers see all of it or nothing; see `atomic_file`."""
    with atomic_file(path, sync_folder=sync_folder) as file:
        file.write(data)


def copy_from_url(url: str, path: Path) -> None:
    """Write what a file at a URL holds, whole or not at all. Raises the errors of the store as they are."""
    from fsspec.core import url_to_fs  # only here: it takes 60 ms to import

    files, remote = url_to_fs(url)
    with files.open(remote, "rb") as source, atomic_file(path) as file:
        shutil.copyfileobj(source, file, 4 * 2**20)


def write_new(path: Path, data: bytes) -> bool:
    """Write a file, whole or not at all, where none of its name is. False, and nothing written, where there is one."""
    temp = _temp_beside(path)
    try:
        with _naming(path), os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _ANYBODY), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temp, path)
    except FileExistsError:
        return False
    finally:
        temp.unlink(missing_ok=True)
    fsync_folder(path.parent)
    return True


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name when the block ends without an error; otherwise nothing is left of it.

    Raises FileExistsError where, at the end, the name is taken; what is there stays as it is.
    """
    make_folder(folder.parent)
    temp = _temp_beside(folder)
    temp.mkdir()
    try:
        yield temp
        publish(temp, folder)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def publish(unfinished: Path, target: Path, *, is_synced: bool = False, sync_folder: bool = True) -> None:
    """Give a finished file or folder its name, for good. A file that is there is replaced, a folder never.

    is_synced: the content is on the disk already. Raises FileExistsError where a folder's name is taken.
    """
    if not is_synced:
        _sync_tree(unfinished)
    try:
        os.replace(unfinished, target)
    except OSError as error:
        if error.errno in _IN_THE_WAY and unfinished.is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise
    if sync_folder:
        fsync_folder(target.parent)


def make_folder(folder: Path, *, sync: bool = True) -> None:
    """Make a folder, and those above it that are missing; with sync so that their names survive a power cut."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if sync:
        for made in reversed(missing):
            fsync_folder(made.parent)


def remove_unfinished(root: Path, *, older_than_s: float = 0.0) -> None:
    """Remove what writers left in a folder and below it when they were killed.

    older_than_s: since the last write; leave it out only where nobody writes there now.
    """
    for left in root.rglob(f".*{TEMP_SUFFIX}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime >= older_than_s:
                left.unlink()


def remove_abandoned(root: Path, *, older_than_s: float) -> list[Path]:
    """Remove what writers left in a folder and below it whose processes are gone: files, and folders with all in them.

    older_than_s: since the last write, for writers on other machines of whom nobody here can say whether they live.
    Returns what was removed.
    """
    removed = []
    for left in sorted(root.rglob(f".*{TEMP_SUFFIX}")):
        with suppress(OSError):
            if _writer_lives(left) or time.time() - _last_write(left) < older_than_s:
                continue
            shutil.rmtree(left) if left.is_dir() else left.unlink()
            removed.append(left)
    return removed


def _writer_lives(left: Path) -> bool:
    """Whether a process of this machine has the number that `_temp_beside` put into the name."""
    found = _WRITER.search(left.name)
    if found is None:
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's
        return True
    return True


def _last_write(left: Path) -> float:
    inside = left.rglob("*") if left.is_dir() else ()
    return max(path.stat().st_mtime for path in (left, *inside))


def give_mode_of(other: Path, path: Path) -> None:
    """Let those read a file who may read another one: safetensors writes files that only their owner can read."""
    path.chmod(other.stat().st_mode)


def file_sha256(path: Path) -> str:
    """64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _fsync(folder)


def _sync_tree(path: Path) -> None:
    """A file, or a folder with all that is in it, from the inside out."""
    if path.is_dir():
        for inside in path.iterdir():
            _sync_tree(inside)
    _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with _naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error of the disk name this path, where it names none: one of an open file does not."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _temp_beside(path: Path) -> Path:
    """A name that no other writer has, of this process or another; it says whose it is."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMP_SUFFIX}")
