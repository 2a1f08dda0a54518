"""A release as the explorer shows it: pictures by number, each with its masks and all that is known of these."""

import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from engine.places import place, scratch_folder
from engine.release.explorer.filters import Filters
from engine.release.explorer.index import Index
from engine.release.explorer.members import Tars
from engine.release.reader import read_manifest
from schemas.errors import InputError

_THUMBNAIL_PX = 480  # the longer side: twice that of a tile
_THUMBNAILS = 1000  # of 30 kB
_IDS = ("id", "image_id", "content_id", "mask")
_HIDDEN = ("tar", "jpeg_sha256", "blur_detectors")
_SAID_BY_PICTURE = ("image_id", "tar")
_NO_COUNTS = {"counts": None, "mended": None}
_BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # of Pillow


class OpenedRelease:
    """A release that is being looked at; nothing of it is changed, and nothing outside its folder is read."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        """Raises InputError if the folder is no release, or one of a newer version."""
        self.folder, self.manifest = folder, read_manifest(folder)
        for name in self.manifest.file_names():
            _check_inside(folder, name)
        self.index = Index(folder, self.manifest, scratch)
        self._tars = Tars(place(folder))
        self._thumbnail = lru_cache(maxsize=_THUMBNAILS)(self._make_thumbnail)

    @property
    def key(self) -> str:
        """Equal for equal releases alone: what a browser has kept under it stays true."""
        return self.manifest.key

    def about(self) -> dict[str, Any]:
        """What a page has to know of the release as a whole."""
        manifest = self.manifest
        told = {name: getattr(manifest, name) for name in ("key", "name", "images", "masks", "withheld", "format")}
        return told | {"stages": list(manifest.stages), "blurred": list(manifest.blur_versions)}

    def jpeg(self, image_id: int) -> bytes | None:
        """The file of a picture as it was released; None where there is no such picture."""
        row = self.index.picture(image_id)
        return None if row is None else self._tars.read(row["tar"], row["file_name"])

    def thumbnail(self, image_id: int) -> bytes | None:
        """A small JPEG of a picture. Raises InputError where the picture is damaged."""
        return self._thumbnail(image_id)

    def picture(self, image_id: int, filters: Filters) -> dict[str, Any] | None:
        """A picture with its masks, as JSON: ids as text, since JavaScript rounds large numbers; NaN as null.

        masks: rows of `schemas.release.MASK_INDEX`, with `counts` (compressed RLE), `shown` (whether it passes the
        filters) and `mended` (counts of the mask that was there before).
        """
        row = self.index.picture(image_id)
        if row is None:
            return None
        record = self._record(row)
        masks = [mask | record.get(mask["id"], _NO_COUNTS) for mask in self.index.masks_of(row, filters)]
        shown = [{name: value for name, value in mask.items() if name not in _SAID_BY_PICTURE} for mask in masks]
        told: dict[str, Any] = _plain({name: row[name] for name in row if name not in _HIDDEN} | {"masks": shown})
        return told

    def _record(self, row: dict[str, Any]) -> dict[int, dict[str, str | None]]:
        """What the json says and the index does not, by mask."""
        name = row["file_name"].removesuffix(".jpg") + ".json"
        data = self._tars.read(row["tar"], name)
        try:
            return {
                annotation["id"]: {"counts": _counts(annotation), "mended": _counts(annotation.get("prompt") or {})}
                for annotation in json.loads(data)["annotations"]
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.folder / row['tar']}: {name} is damaged: {error}; see what is damaged with: "
                f"sam-engine release verify {self.folder}"
            ) from error

    def _make_thumbnail(self, image_id: int) -> bytes | None:
        jpeg = self.jpeg(image_id)
        if jpeg is None:
            return None
        small = io.BytesIO()
        try:
            with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
                picture.draft("RGB", (_THUMBNAIL_PX, _THUMBNAIL_PX))
                picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
                picture.convert("RGB").save(small, "JPEG", quality=85)
        except _BROKEN as error:
            raise InputError(f"{self.folder}: picture {image_id} does not decode: {error}") from error
        return small.getvalue()


@contextmanager
def opened_releases(folders: Sequence[Path]) -> Iterator[list[OpenedRelease]]:
    """The releases in these folders, for the time of the `with` block."""
    with scratch_folder() as scratch:
        yield [OpenedRelease(folder, scratch / str(number)) for number, folder in enumerate(folders)]


def plain_ids(row: dict[str, Any]) -> dict[str, Any]:
    """`row` with ids as text."""
    return {name: str(value) if name in _IDS and value is not None else value for name, value in row.items()}


def _counts(holder: dict[str, Any]) -> str | None:
    segmentation = holder.get("segmentation")
    return str(segmentation["counts"]) if segmentation else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in plain_ids(value).items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_inside(folder: Path, name: str) -> None:
    """Raises InputError for a name that leads out of the release."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise InputError(f"{folder}: broken manifest: {name} does not lie in the release")
