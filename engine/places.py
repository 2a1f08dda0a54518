"""Places: files and folders on this machine's disk, or at a URL that fsspec opens (memory://, s3://, az://).

The methods have other names than those of `pathlib.Path`, so that no place is taken for a path by mistake: whoever
needs a path on this disk asks for `local_path` and says what for, or for `on_disk`, where this machine keeps what is
its own: locks, copies and logs.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from engine.files import (
    append_line,
    atomic_file,
    fsync_folder,
    make_folder,
    only_one,
    remove_unfinished,
    storage_errors,
)
from engine.remote import has_folders, opened, remote_errors
from model.registry import user_home
from schemas.errors import InputError

_SCHEME = "://"
_COPIED_AT_ONCE = 4 * 2**20


class Place(Protocol):
    """A file or folder, which need not be there. Its text begins with what the user wrote."""

    @property
    def name(self) -> str:
        """Its last part."""
        ...

    def __truediv__(self, part: str) -> "Place":
        """A place inside; the part may have several names, as in "rounds/1.json"."""
        ...

    def local_path(self, what: str) -> Path:
        """Its path on this machine's disk, without which `what` cannot be. Raises InputError where it is at a URL."""
        ...

    def on_disk(self) -> Path:
        """The path that stands for it on this machine's disk: its own, or for a URL one below the user's folder.

        For what belongs to this machine alone (locks, copies, logs), never for what other machines have to see.
        """
        ...

    def exists(self) -> bool:
        """Whether a file or folder is there."""
        ...

    def size(self) -> int | None:
        """Bytes of a file, None where there is none."""
        ...

    def read(self) -> bytes:
        """All of a file. Raises FileNotFoundError where there is none."""
        ...

    def text(self) -> str:
        """All of a file of UTF-8. Raises FileNotFoundError where there is none."""
        ...

    def opened(self) -> AbstractContextManager[BinaryIO]:
        """A file to read piece by piece, from anywhere in it. Raises FileNotFoundError where there is none."""
        ...

    def write(self, data: bytes, *, sync_folder: bool = True) -> None:
        """Put a file there, whole or not at all. sync_folder=False: the caller calls `sync` later, once for many files.

        Raises InputError if the disk is full or not writable.
        """
        ...

    def writing(self) -> AbstractContextManager[BinaryIO]:
        """As `write`, for those who write piece by piece: the file appears when the block ends without an error."""
        ...

    def append_line(self, line: bytes) -> None:
        """Add a line to a file. Raises InputError if the disk is full, or where the place is at a URL."""
        ...

    def make_folder(self) -> None:
        """Make a folder and those above it. At a URL there are no empty folders, and nothing happens."""
        ...

    def sync(self) -> None:
        """Make the names in a folder survive a power cut."""
        ...

    def find(self, pattern: str) -> "list[Place]":
        """What a folder holds whose path below it fits the pattern, such as "*/card.json", sorted."""
        ...

    def remove(self) -> None:
        """Remove a file, or a folder with all that is in it; nothing happens where there is none."""
        ...

    def remove_unfinished(self) -> None:
        """Remove what writers left below a folder when they were killed; only where nobody writes there now."""
        ...

    def only_one(self, *, busy: str) -> AbstractContextManager[None]:
        """Hold a lock file. Raises WaitError, which says `busy`, where another process holds it.

        The lock of a place at a URL holds on this machine alone: other machines do not see it.
        """
        ...


def place(root: "str | Path | Place") -> Place:
    """The place at a local path or a URL; a place is itself. Raises InputError where fsspec cannot open such a URL."""
    if isinstance(root, LocalPlace | RemotePlace):
        return root
    text = str(root)
    if _SCHEME not in text:
        return LocalPlace(Path(text))
    return RemotePlace(text.rstrip("/"))


def copy(source: Place, target: Place) -> None:
    """Put what a file holds at another place, whole or not at all. Raises FileNotFoundError where there is none."""
    with source.opened() as from_file, target.writing() as to_file:
        shutil.copyfileobj(from_file, to_file, _COPIED_AT_ONCE)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder on this machine's disk, which is gone when the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def full_name(where: Place) -> str:
    """An address that means the same wherever one is: an absolute path or a URL."""
    return str(where.path.resolve()) if isinstance(where, LocalPlace) else str(where)


def is_relative(path: str) -> bool:
    """Whether a path goes on from a folder; no URL does."""
    return _SCHEME not in path and not Path(path).is_absolute()


@dataclass(frozen=True, order=True)
class LocalPlace:
    """A place on this machine's disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, part: str) -> "LocalPlace":
        return LocalPlace(self.path / part)

    def local_path(self, what: str) -> Path:
        return self.path

    def on_disk(self) -> Path:
        return self.path

    def exists(self) -> bool:
        return self.path.exists()

    def size(self) -> int | None:
        return self.path.stat().st_size if self.path.is_file() else None

    def read(self) -> bytes:
        return self.path.read_bytes()

    def text(self) -> str:
        return self.read().decode()

    def opened(self) -> AbstractContextManager[BinaryIO]:
        return self.path.open("rb")

    def write(self, data: bytes, *, sync_folder: bool = True) -> None:
        with atomic_file(self.path, sync_folder=sync_folder) as file:
            file.write(data)

    def writing(self) -> AbstractContextManager[BinaryIO]:
        return atomic_file(self.path)

    def append_line(self, line: bytes) -> None:
        append_line(self.path, line)

    def make_folder(self) -> None:
        with storage_errors(self.path):
            make_folder(self.path)

    def sync(self) -> None:
        with storage_errors(self.path):
            fsync_folder(self.path)

    def find(self, pattern: str) -> list[Place]:
        return [LocalPlace(path) for path in sorted(self.path.glob(pattern))]

    def remove(self) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        remove_unfinished(self.path)

    def only_one(self, *, busy: str) -> AbstractContextManager[None]:
        return only_one(self.path, busy=busy)


@dataclass(frozen=True, order=True)
class RemotePlace:
    """A place at a URL. An object appears there when all of it has come, so that writing is atomic by itself."""

    url: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, part: str) -> "RemotePlace":
        return RemotePlace(f"{self.url}/{part}")

    def local_path(self, what: str) -> Path:
        raise self._needs_a_disk(what)

    def on_disk(self) -> Path:
        scheme, _, path = self.url.partition(_SCHEME)
        return user_home() / "remote" / scheme / path

    def exists(self) -> bool:
        with self._opened() as (files, path):
            return bool(files.exists(path))

    def size(self) -> int | None:
        with self._opened() as (files, path):
            try:
                found = files.info(path)
            except FileNotFoundError:
                return None
            return int(found["size"]) if found["type"] == "file" else None

    def read(self) -> bytes:
        with self._opened() as (files, path):
            return bytes(files.cat_file(path))

    def text(self) -> str:
        return self.read().decode()

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        with self._opened() as (files, path):
            file = files.open(path, "rb")
        with file:  # outside: errors of those who read it are theirs
            yield file

    def write(self, data: bytes, *, sync_folder: bool = True) -> None:
        with self._opened(writing=True) as (files, path):
            files.pipe_file(path, data)

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        with scratch_folder() as scratch:
            content = scratch / "content"
            with content.open("wb") as file:
                yield file
            with self._opened(writing=True) as (files, path):
                files.put_file(str(content), path)

    def append_line(self, line: bytes) -> None:
        raise self._needs_a_disk("a log that grows line by line")

    def make_folder(self) -> None:
        pass

    def sync(self) -> None:
        pass

    def find(self, pattern: str) -> list[Place]:
        with self._opened() as (files, path):
            return [self / found.removeprefix(path).lstrip("/") for found in sorted(files.glob(f"{path}/{pattern}"))]

    def remove(self) -> None:
        with self._opened() as (files, path):
            if files.exists(path):
                files.rm(path, recursive=True)

    def remove_unfinished(self) -> None:
        pass

    def only_one(self, *, busy: str) -> AbstractContextManager[None]:
        return only_one(self.on_disk(), busy=busy)

    def _needs_a_disk(self, what: str) -> InputError:
        return InputError(f"{self}: {what} must lie on a disk of this machine; use a workspace that is a folder")

    @contextmanager
    def _opened(self, *, writing: bool = False) -> Iterator[tuple[Any, str]]:
        """The file system and the path in it. What goes wrong with them is said in one line."""
        with remote_errors(self.url, writing=writing):
            files, path = opened(self.url)
            if writing and has_folders(self.url):
                files.makedirs(path.rpartition("/")[0], exist_ok=True)
            yield files, path
