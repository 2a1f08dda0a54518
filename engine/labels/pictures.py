"""Finding the picture that a label file means, inside one folder and nowhere else."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, unquote

from engine.images import SUFFIXES
from engine.labels.mask_folders import in_mask_folder
from schemas.errors import InputError

# Folders beside a label file in which exporters put the pictures; "data" is FiftyOne's, "JPEGImages" Pascal VOC's.
_FOLDERS = frozenset(
    {"images", "image", "imgs", "img", "data", "jpegimages", "train", "val", "valid", "validation", "test"}
    | {"train2014", "val2014", "train2017", "val2017", "test2017"}
)


class PictureFinder:
    """Finds pictures in a folder by the names that label files give them: paths of other machines, URLs, bare names.

    A name is taken as it is where that file exists. Else its trailing parts are looked for in the folder and in the
    subfolders that exporters use. What lies outside the folder, also by way of a link, is never found.
    """

    def __init__(self, root: Path, *, whole_folder: bool = False) -> None:
        """whole_folder: all subfolders are searched."""
        self.root = root
        self._whole_folder = whole_folder

    def find_all(
        self,
        names: Sequence[str],
        *,
        beside: Path,
        mended: Counter[str],
        mask_files: frozenset[Path] = frozenset(),
        of: str = "",
    ) -> dict[str, Path | InputError]:
        """The path of each name, or why there is none: no picture fits, several do, or another name means it.

        beside: folder of the label file, which comes before the others. mended: counts what another name found.
        mask_files: these hold masks, and no other name finds them. of: the label file's place in the
        folder; of several pictures the one in a folder that it tells (`instances_val.json`: `val`) is meant.
        """
        found: dict[str, Path | InputError] = {}
        for name in names:
            exact = self._inside(beside / name) or self._inside(self.root / name)
            if exact is not None:
                found[name] = exact
        taken = {path: name for name, path in found.items()}
        for name in names:
            if name not in found:
                found[name] = path = self._find_alike(name, beside, of)
                if path in mask_files:
                    found[name] = InputError(f"{name}: no such file; {path} has its name, but holds masks")
                elif isinstance(path, Path):
                    mended["picture found by another name or folder"] += 1
                    if (other := taken.setdefault(path, name)) != name:
                        found[name] = InputError(f"{name}: only {path} fits, which is {other}; name its folder")
        return found

    def _find_alike(self, name: str, beside: Path, of: str) -> Path | InputError:
        try:
            return self._by_parts(_parts(name), name, beside, of)
        except InputError as error:
            return error

    def _by_parts(self, parts: tuple[str, ...], name: str, beside: Path, of: str) -> Path:
        for start in range(len(parts)):
            found = self._inside(beside.joinpath(*parts[start:])) or self._inside(self.root.joinpath(*parts[start:]))
            if found is not None:
                return found
        found_paths = self._outside_masks(self._told_by(of, self._alike(parts)))
        if not found_paths:
            raise InputError(
                f"{self.root / name}: no such file; put it there or name its folder with --images "
                f"(a picture outside of {self.root} is used only so)"
            )
        if len(found_paths) > 1:
            listed = ", ".join(str(path) for path in found_paths[:5])
            raise InputError(f"{name}: {len(found_paths)} pictures fit: {listed}; name one folder with --images")
        return found_paths[0]

    def _told_by(self, of: str, paths: list[Path]) -> list[Path]:
        """Of several pictures those in a folder that the label file's name tells; all where it tells none."""
        if len(paths) < 2:
            return paths
        words = {*re.split(r"[^a-z0-9]+", of.lower()), *map(_key, PurePosixPath(of).parts[:-1])} - {""}
        told = [path for path in paths if words & {_key(part) for part in path.relative_to(self.root).parts[:-1]}]
        return told or paths

    def _outside_masks(self, paths: list[Path]) -> list[Path]:
        """Of several pictures those that lie in no folder of masks; all where there are none."""
        outside = [path for path in paths if not in_mask_folder(path, self.root)] if len(paths) > 1 else paths
        return outside or paths

    def _alike(self, parts: tuple[str, ...]) -> list[Path]:
        """Pictures of that name whatever its case and Unicode form, or of that stem; where most parts agree."""
        key = _key(parts[-1]) if parts else ""
        bare = key.strip()
        found = self._by_name.get(key) or self._by_name.get(bare) or self._by_name.get(_stem(bare), [])
        agreement = {path: _agreement(path.parts, parts) for path in found}
        return sorted(path for path in found if agreement[path] == max(agreement.values()))

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        named: dict[str, list[Path]] = defaultdict(list)
        for path in self._pictures():
            if self._inside(path) is not None:
                named[_key(path.name)].append(path)
                named[_stem(_key(path.name))].append(path)
        return named

    def _pictures(self) -> Iterator[Path]:
        for folder, below, files in os.walk(self.root):
            if Path(folder) == self.root and not self._whole_folder:
                below[:] = [name for name in below if name.lower() in _FOLDERS]
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(files):
                if Path(name).suffix.lower() in SUFFIXES:
                    yield Path(folder) / name

    def _inside(self, path: Path) -> Path | None:
        """The path, if it is a file in the folder."""
        try:
            inside = path.is_file() and path.resolve().is_relative_to(self._resolved_root)
        except (OSError, ValueError, RuntimeError):  # a name too long, or of characters that no file name can have
            return None
        return path if inside else None

    @cached_property
    def _resolved_root(self) -> Path:
        return self.root.resolve()


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path or URL without what only its own machine knows: scheme, host, drive, `..`, query."""
    if "?d=" in name:  # Label Studio's local files: /data/local-files/?d=folder/a.jpg
        name = name.partition("?d=")[2].partition("&")[0]
    elif url := re.match(r"[a-z][a-z0-9+.-]+://[^/]*([^?#]*)(.*)", name, re.IGNORECASE | re.DOTALL):
        name = _of_query(url[2]) if not _has_ending(url[1]) and _of_query(url[2]) else url[1]
    elif _has_ending(name.partition("?")[0]):
        name = name.partition("?")[0]
    name = re.sub(r"^[A-Za-z]:", "", unquote(name).replace("\\", "/"))
    return tuple(part for part in name.split("/") if part not in ("", ".", ".."))


def _stem(key: str) -> str:
    return "stem:" + PurePosixPath(key).stem


def _of_query(query: str) -> str:
    """The one value of a query that names a picture; "" where none or several do."""
    named = [value for _, value in parse_qsl(query.partition("#")[0].removeprefix("?")) if _has_ending(value)]
    return named[0] if len(named) == 1 else ""


def _has_ending(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _key(name: str) -> str:
    """Letters of a name in Latin-1, which the system gives as surrogates, stand for themselves."""
    readable = re.sub("[\udc80-\udcff]", lambda found: chr(ord(found[0]) - 0xDC00), name)
    return unicodedata.normalize("NFC", readable).casefold()


def _agreement(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    same = [_key(a) == _key(b) for a, b in zip(first[-2::-1], second[-2::-1], strict=False)]
    return same.index(False) if False in same else len(same)
