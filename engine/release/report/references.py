"""Datasets in COCO's format, to be set beside a release: read as a stream, without their pictures."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ijson
import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.labels.crowds import is_flagged
from engine.labels.text import printable
from engine.progress import Progress
from engine.release.report.properties import MaskProperties
from schemas.errors import InputError
from schemas.rle import Rle
from schemas.sa1b import from_xywh

Sizes = npt.NDArray[np.int64]
_ANNOTATIONS_AT_ONCE = 20_000
_CROWD, _NO_PICTURE, _NO_MASK, _BROKEN = "groups (iscrowd)", "of unknown pictures", "without a mask", "broken"


class CocoReference:
    """A COCO file. Items of its sample: (segmentation, height, width).

    Groups (`iscrowd`) are left out: they are no masks of single objects.
    """

    def __init__(self, name: str, path: Path, *, progress: Progress | None = None) -> None:
        self.name, self.path, self._progress = name, path, progress

    def properties(self) -> MaskProperties:
        """Read the file twice: pictures may stand behind annotations. Raises InputError if it is no COCO file."""
        found = MaskProperties(self.name)
        sizes, numbers = self._pictures()
        masks = np.zeros(len(sizes), dtype=np.int64)
        rows: list[_Row] = []
        for key, annotation in enumerate(self._items("annotations.item")):
            row = _row(annotation, key, numbers, sizes)
            if isinstance(row, str):
                found.left_out[row] += 1
                continue
            masks[row.picture] += 1
            rows.append(row)
            if len(rows) == _ANNOTATIONS_AT_ONCE:
                _add(found, rows, sizes)
                rows = []
                self._told(found.masks)
        _add(found, rows, sizes)
        found.add_pictures(masks)
        self._told(found.masks, found.masks)
        if not found.masks:
            raise InputError(f"{self.path}: no COCO file with masks: it needs the lists images and annotations")
        return found

    def masks(self, items: list[Any]) -> list[Rle]:
        """Raises InputError if one is broken."""
        try:
            return [rle_codec.from_coco(*item) for item in items]
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error

    def _pictures(self) -> tuple[Sizes, dict[Any, int]]:
        """(N, 2) width and height, and the row of each picture's id. Pictures without a size are not known."""
        numbers: dict[Any, int] = {}
        sizes: list[tuple[int, int]] = []
        for picture in self._items("images.item"):
            size = _size(picture)
            if size is not None and _is_id(picture.get("id")):
                numbers.setdefault(picture["id"], len(sizes))
                sizes.append(size)
        return np.array(sizes, dtype=np.int64).reshape(-1, 2), numbers

    def _items(self, prefix: str) -> Iterator[Any]:
        with self._read_errors(), self.path.open("rb") as file:
            yield from ijson.items(file, prefix, use_float=True)

    @contextmanager
    def _read_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: broken JSON: {printable(str(error).splitlines()[0])}") from error

    def _told(self, done: int, total: int = 0) -> None:
        if self._progress is not None:
            self._progress(f"{self.name}: masks", done, total or done + _ANNOTATIONS_AT_ONCE)


class _Row(NamedTuple):
    """An annotation with a mask. picture: its row; box: XYXY pixels; key: its place in the file."""

    picture: int
    key: int
    area: float
    box: tuple[float, float, float, float]
    segmentation: Any


def _row(annotation: Any, key: int, numbers: dict[Any, int], sizes: Sizes) -> _Row | str:
    """What is counted of an annotation, or why it is left out. Area and box are measured where the file has none."""
    if not isinstance(annotation, dict):
        return _BROKEN
    if is_flagged(annotation):
        return _CROWD
    image_id, segmentation = annotation.get("image_id"), annotation.get("segmentation")
    if not _is_id(image_id) or (picture := numbers.get(image_id)) is None:
        return _NO_PICTURE
    if not segmentation:
        return _NO_MASK
    area: Any = annotation.get("area")
    box: Any = annotation.get("bbox")
    if _is_positive(area) and _is_box(box):
        return _Row(picture, key, area, from_xywh(tuple(box)), segmentation)
    width, height = sizes[picture].tolist()
    try:
        mask = rle_codec.measured(rle_codec.from_coco(segmentation, height, width))
    except InputError:
        return _BROKEN
    return _Row(picture, key, mask.area, mask.box, segmentation) if mask.area else _NO_MASK


def _add(found: MaskProperties, rows: list[_Row], sizes: Sizes) -> None:
    if not rows:
        return
    pictures = sizes[[row.picture for row in rows]]
    heights_widths = ((int(height), int(width)) for width, height in pictures)
    segmentations = ((row.segmentation, *size) for row, size in zip(rows, heights_widths, strict=True))
    found.add_masks(
        np.array([row.box for row in rows], dtype=np.float64),
        np.array([row.area for row in rows], dtype=np.float64),
        pictures,
        keys=np.array([row.key for row in rows], dtype=np.int64),
        items=np.fromiter(segmentations, dtype=object, count=len(rows)),
    )


def _size(picture: Any) -> tuple[int, int] | None:
    """Width and height of a record of a picture."""
    if not isinstance(picture, dict):
        return None
    sides = [picture.get("width"), picture.get("height")]
    known = [int(side) for side in sides if isinstance(side, int | float) and 1 <= side < math.inf]
    return (known[0], known[1]) if len(known) == 2 else None


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(side, int | float) for side in value)
