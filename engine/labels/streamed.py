"""COCO files too large to hold as objects: their annotations are read one by one, as often as they are asked for."""

import gzip
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import ijson

LARGE_BYTES = 32 * 2**20  # smaller files are read at once, in a quarter of the time
_GZIP = b"\x1f\x8b"
_GZIP_FACTOR = 6  # by which JSON shrinks, nearly


class StreamedAnnotations:
    """Annotations that are read anew each time, one by one; nothing of them is kept."""

    def __init__(self, read: Callable[[], Iterator[Any]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Any]:
        """Raises what the reading raises: ValueError where a COCO file is no JSON."""
        return self._read()


def streamed_coco(path: Path) -> dict[str, Any] | None:
    """`images`, `categories` and, to be read one by one, `annotations` of a large COCO file.

    None for a smaller file, and for one that is not plainly such a file: cut off, of another form, in another encoding.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        if path.stat().st_size * (_GZIP_FACTOR if packed else 1) < LARGE_BYTES:
            return None
        images = list(_items(path, "images.item"))
        if not images or not _has_plain_annotations(path):
            return None
        return {
            "images": images,
            "categories": list(_items(path, "categories.item")),
            "annotations": StreamedAnnotations(partial(_items, path, "annotations.item")),
        }
    except (
        OSError,
        EOFError,
        ValueError,
    ):  # ijson.JSONError is a ValueError; the reader of whole files says what is wrong
        return None


def _has_plain_annotations(path: Path) -> bool:
    first = next(_items(path, "annotations.item"), None)
    return isinstance(first, dict) and "segments_info" not in first


def _items(path: Path, prefix: str) -> Iterator[Any]:
    try:
        with _opened(path) as file:
            yield from ijson.items(file, prefix, use_float=True)
    except ijson.JSONError as error:
        raise ValueError(str(error)) from error


def _opened(path: Path) -> IO[bytes]:
    file = path.open("rb")
    packed = file.read(2) == _GZIP
    file.seek(0)
    return gzip.open(file) if packed else file  # type: ignore[return-value]
