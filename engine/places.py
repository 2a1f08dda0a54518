"""Places: files and folders on this machine's disk, or at a URL that fsspec opens (memory://, s3://, gs://).

The methods have other names than those of `pathlib.Path`, so that no place is taken for a path by mistake: whoever
needs a path on this disk asks for `local_path` and says what for.
"""

import io
import shutil
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
from schemas.errors import InputError

_SCHEME = "://"


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
        """Hold a lock file. Raises WaitError, which says `busy`, where another process holds it, and InputError where
        the place is at a URL."""
        ...


def place(root: str | Path) -> Place:
    """The place at a local path or a URL. Raises InputError where fsspec cannot open such a URL."""
    text = str(root)
    if _SCHEME not in text:
        return LocalPlace(Path(text))
    return RemotePlace(text.rstrip("/"))


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

    def exists(self) -> bool:
        return self.path.exists()

    def size(self) -> int | None:
        return self.path.stat().st_size if self.path.is_file() else None

    def read(self) -> bytes:
        return self.path.read_bytes()

    def text(self) -> str:
        return self.read().decode()

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

    def exists(self) -> bool:
        files, path = self._opened()
        return bool(files.exists(path))

    def size(self) -> int | None:
        files, path = self._opened()
        return int(files.size(path)) if files.isfile(path) else None

    def read(self) -> bytes:
        files, path = self._opened()
        return bytes(files.cat_file(path))

    def text(self) -> str:
        return self.read().decode()

    def write(self, data: bytes, *, sync_folder: bool = True) -> None:
        files, path = self._opened()
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(path, data)

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        content = io.BytesIO()
        yield content
        self.write(content.getvalue())

    def append_line(self, line: bytes) -> None:
        raise self._needs_a_disk("a log that grows line by line")

    def make_folder(self) -> None:
        pass

    def sync(self) -> None:
        pass

    def find(self, pattern: str) -> list[Place]:
        files, path = self._opened()
        return [self / found.removeprefix(path).lstrip("/") for found in sorted(files.glob(f"{path}/{pattern}"))]

    def remove(self) -> None:
        files, path = self._opened()
        if files.exists(path):
            files.rm(path, recursive=True)

    def remove_unfinished(self) -> None:
        pass

    def only_one(self, *, busy: str) -> AbstractContextManager[None]:
        raise self._needs_a_disk("the lock of a workspace")

    def _needs_a_disk(self, what: str) -> InputError:
        return InputError(f"{self}: {what} must lie on a disk of this machine; use a workspace that is a folder")

    def _opened(self) -> tuple[Any, str]:
        """The file system and the path in it; fsspec keeps one file system for all who ask."""
        from fsspec.core import url_to_fs  # only here: it takes 60 ms to import

        try:
            files, path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise InputError(f"{self}: cannot be opened: {' '.join(str(error).split())}") from error
        return files, path
