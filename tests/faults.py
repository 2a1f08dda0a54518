"""A disk that fails or loses power when a test says so, and forgets then what was not synced.

What is watched are the calls that make work durable: fsync of files and folders, and renames. After a power cut a file
that was never synced is empty, one that was holds what it held then; a folder has the names that it had when it was
synced last, or, since file systems may write them at any time, all that it had at that moment.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

Names = Literal["synced", "all"]
VARIANTS: tuple[Names, ...] = ("synced", "all")
Tree = dict[str, "Tree | bytes"]
Value = TypeVar("Value")


class PowerCutError(BaseException):
    """The machine is off: no code that mends errors runs after it."""


class Disk:
    """The disk below a folder. calls: (what, path below the folder) of each call, in order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, str]] = []
        self._contents: dict[int, bytes] = {}  # of files by inode, when they were synced last
        self._names: dict[int, dict[str, tuple[int, bool]]] = {}  # of folders likewise: (inode, is a folder)
        self._pins: list[int] = []  # open files, so that no inode is given to another file
        self._at: int | None = None
        self._event: Callable[[], None] = lambda: None
        for folder, _, files in os.walk(root):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                self._remember(os.open(path, os.O_RDONLY))

    @contextmanager
    def watched(self, *, at: int | None = None, event: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Watch what is done in the block; before its call number `at` happens `event`."""
        self._at, self._event = at, event
        fsync, replace = os.fsync, os.replace

        def watched_fsync(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if self._count("fsync", path):
                self._remember(os.dup(descriptor))
            fsync(descriptor)

        def watched_replace(source: Any, target: Any, **options: Any) -> None:
            self._count("rename", os.fspath(target))
            replace(source, target, **options)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "fsync", watched_fsync)
            patched.setattr(os, "replace", watched_replace)
            patched.setattr(os, "rename", watched_replace)
            yield

    def close(self) -> None:
        for pin in self._pins:
            os.close(pin)

    def after_power_cut(self, names: Names) -> Tree:
        """What is on the disk if the power goes now."""
        return self._tree(os.stat(self.root).st_ino, self.root, names)

    def _tree(self, inode: int, now: Path | None, names: Names) -> Tree:
        known = dict(self._names.get(inode, {}))
        if names == "all" and now is not None:
            known = {entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(now)}
        made: Tree = {}
        for name, (inside, is_folder) in known.items():
            path = None if now is None else now / name
            same = path is not None and path.exists() and path.stat().st_ino == inside
            made[name] = (
                self._tree(inside, path if same else None, names) if is_folder else self._contents.get(inside, b"")
            )
        return made

    def _count(self, what: str, path: str) -> bool:
        """Whether it is below the folder; then it counts, and the event happens if it is its turn."""
        if not Path(path).is_relative_to(self.root):
            return False
        self.calls.append((what, os.path.relpath(path, self.root)))
        if len(self.calls) == self._at:
            self._event()
        return True

    def _remember(self, descriptor: int) -> None:
        self._pins.append(descriptor)
        inode = os.fstat(descriptor).st_ino
        path = Path(f"/proc/self/fd/{descriptor}")
        if path.is_dir():
            self._names[inode] = {entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)}
        else:
            self._contents[inode] = path.read_bytes()


def write_tree(tree: Tree, folder: Path) -> Path:
    """Put what a disk kept into a folder."""
    folder.mkdir(parents=True)
    for name, inside in tree.items():
        if isinstance(inside, bytes):
            (folder / name).write_bytes(inside)
        else:
            write_tree(inside, folder / name)
    return folder


def check_power_cuts(
    work: Path,
    prepare: Callable[[Path], None],
    write: Callable[[Path], object],
    read: Callable[[Path], Value],
    *,
    old: Value,
    new: Value,
) -> list[tuple[str, str]]:
    """Cut the power before every call of a writer, and after the last: a reader finds the old or the new, never a part,
    and the new once the writer has returned.

    work: an empty folder to work in. prepare: makes what was there before. Returns the writer's calls.
    """
    calls = _check_cut(work / "whole", None, prepare, write, read, (new,))
    assert calls, "nothing was synced"
    for at in range(1, len(calls) + 1):
        _check_cut(work / f"cut-{at}", at, prepare, write, read, (old, new))
    return calls


def _check_cut(
    work: Path,
    at: int | None,
    prepare: Callable[[Path], None],
    write: Callable[[Path], object],
    read: Callable[[Path], Value],
    allowed: tuple[Value, ...],
) -> list[tuple[str, str]]:
    root = work / "disk"
    root.mkdir(parents=True)
    prepare(root)
    disk = Disk(root)
    left: dict[Names, Tree] = {}

    def cut() -> None:
        left.update({names: disk.after_power_cut(names) for names in VARIANTS})
        raise PowerCutError

    try:
        with disk.watched(at=at, event=cut):
            write(root)
        cut()
    except PowerCutError:
        pass
    finally:
        disk.close()
    for names, tree in left.items():
        found = read(write_tree(tree, work / names))
        assert found in allowed, f"power cut before call {at} of {disk.calls}, names {names}: {found!r}"
    return disk.calls


def check_failures(
    work: Path,
    prepare: Callable[[Path], None],
    write: Callable[[Path], object],
    read: Callable[[Path], Value],
    *,
    old: Value,
    new: Value,
) -> None:
    """Let every call of a writer fail, one at a time: it says so, readers find the old or the new and nothing beside
    it, and the same call again does it."""

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    at, failed = 0, True
    while failed:
        at += 1
        root = work / f"failure-{at}"
        root.mkdir(parents=True)
        prepare(root)
        disk, failed = Disk(root), False
        try:
            with disk.watched(at=at, event=fail):
                write(root)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            failed = True
        finally:
            disk.close()
        assert read(root) in ((old, new) if failed else (new,))
        assert not list(root.rglob(".*.tmp")), f"left after call {at} of {disk.calls} failed"
        write(root)
        assert read(root) == new
    assert at > 1, "no call was made"
