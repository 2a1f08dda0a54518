"""Reading a release: its manifest, and picture by picture what is in its tars and index.

What is read is parsed, not checked against the manifest's checksums; `engine.release.verify` does that.
"""

import json
import math
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from engine import rle as rle_codec
from engine.images import decode_image_file
from engine.places import Place, place
from engine.progress import Progress
from engine.table_files import as_rows_of
from schemas.errors import InputError
from schemas.mask import Mask, Prompt
from schemas.problems import first_problem
from schemas.release import FIRST_FORMAT, FORMAT, IMAGE_INDEX, MANIFEST_FILE, MASK_INDEX, Manifest, ReleasedTar
from schemas.sa1b import Sa1bAnnotation, Sa1bRecord, parse_record


@dataclass(frozen=True)
class PictureOfRelease:
    """One picture with its masks.

    name: without an extension. jpeg: the file's bytes. record: its SA-1B json. row: of `schemas.release.IMAGE_INDEX`.
    mask_rows: of `schemas.release.MASK_INDEX`, in the order of the record's annotations.
    """

    name: str
    jpeg: bytes
    record: Sa1bRecord
    row: dict[str, Any]
    mask_rows: list[dict[str, Any]]

    @property
    def width(self) -> int:
        return self.record.image.width

    @property
    def height(self) -> int:
        return self.record.image.height

    def pixels(self, *, longest_px: int | None = None) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB; (h, w, 3), a half, a quarter or an eighth of it, where `longest_px` is enough.

        Raises InputError if the JPEG is broken.
        """
        name = f"{self.name}.jpg"
        return decode_image_file(self.jpeg, max_megapixels=math.inf, name=name, longest_px=longest_px).pixels

    def masks(self) -> list[Mask]:
        """In the order of `mask_rows`. Raises InputError if one does not decode."""
        return [self._mask(*both) for both in zip(self.record.annotations, self.mask_rows, strict=True)]

    def _mask(self, annotation: Sa1bAnnotation, row: dict[str, Any]) -> Mask:
        rle = rle_codec.from_coco(annotation.segmentation.model_dump(), self.height, self.width)
        lineage = {name: row[name] for name in ("annotator", "model_id", "generator_config", "label")}
        mask = replace(Mask.from_sa1b(annotation, origin=row["origin"]), rle=rle, **lineage)
        if annotation.prompt is None and (listed := _prompt_of(row)).says_more_than_points_on_object:
            # Before json had whole prompts, the index alone told of boxes and of points off the object.
            mask = replace(mask, prompt=listed)
        return mask


class Release:
    """A release, given its folder; iterating over it reads its pictures one by one, in the order of its tars."""

    def __init__(self, path: str | Path | Place, *, progress: Progress | None = None, what: str = "reading") -> None:
        """progress is called with (what, done, total) pictures.

        Raises InputError if the folder is no release or its manifest is broken.
        """
        self.place, self.manifest = place(path), read_manifest(path)
        self._progress, self._what = progress, what

    def __len__(self) -> int:
        """How many pictures there are."""
        return self.manifest.images

    def __iter__(self) -> Iterator[PictureOfRelease]:
        """Raises InputError that names the tar if it or its index cannot be read."""
        done = 0
        for tar in self.manifest.tars:
            for picture in pictures_of(self.place, tar):
                yield picture
                done += 1
                if self._progress is not None:
                    self._progress(self._what, done, len(self))


def read_manifest(path: str | Path | Place) -> Manifest:
    """The manifest of a release, given its folder.

    Raises InputError if there is none, it is broken, or a newer version of this package wrote it.
    """
    file = place(path) / MANIFEST_FILE
    try:
        text = file.read()
        return Manifest.model_validate_json(text)
    except OSError as error:
        raise InputError(f"{path}: not a release: cannot read {MANIFEST_FILE}: {error.strerror or error}") from error
    except ValidationError as error:
        if newer := _newer_format(text):
            raise InputError(f"{path}: {newer} is of a newer version; update sam-data-engine to read it") from error
        problem = first_problem(error)
        raise InputError(f"{file}: broken manifest: {problem.key or 'the file'}: {problem.message.lower()}") from error


def _newer_format(manifest: bytes) -> str | None:
    """The format of a manifest, if its number is higher than any that is known."""
    with suppress(ValueError):
        written = json.loads(manifest)
        name, _, number = str(written.get("format") if isinstance(written, dict) else "").rpartition(" ")
        known, _, newest = FORMAT.rpartition(" ")
        if name == known and number.isdecimal() and int(number) > int(newest):
            return f"{name} {number}"
    return None


def _prompt_of(row: dict[str, Any]) -> Prompt:
    """What the index says of the prompt; its coordinates are rounded to float32."""
    points = tuple((point["x"], point["y"], point["label"]) for point in row["points"])
    return Prompt(points, tuple(row["prompt_box_xyxy"]) or None)


def names_in(folder: Place) -> set[str]:
    """Names, relative to the folder, of all files in it and in the folders below."""
    files = [found for found in folder.find("**/*") if found.size() is not None]
    return {str(file).removeprefix(str(folder)).lstrip("/") for file in files}


def mask_id_columns(manifest: Manifest) -> tuple[str, str]:
    """Columns of a release's mask index: with the ids of its json, and with the content ids of the workspace."""
    return ("mask_id", "mask_id") if manifest.format == FIRST_FORMAT else ("id", "content_id")


def read_index(path: Place, schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows of an index file, with the columns of `schema`; what older releases do not say is unknown there."""
    table = pq.read_table(pa.BufferReader(path.read()))
    if "content_id" not in table.column_names:  # format 1
        names = ["id" if name == "mask_id" else name for name in table.column_names]
        table = table.rename_columns(names)
        table = table.append_column("content_id", table["id" if "id" in names else "image_id"])
    rows: list[dict[str, Any]] = as_rows_of(schema, table).to_pylist()
    return rows


def tar_members(path: Place) -> Iterator[tuple[str, bytes, bytes]]:
    """(name, JPEG, json) of the pictures in a tar. Raises ValueError where the two do not stand side by side."""
    with path.opened() as content, tarfile.open(fileobj=content, mode="r:") as tar:
        first: tuple[str, bytes] | None = None
        for member in tar:
            file = tar.extractfile(member)
            data = b"" if file is None else file.read()
            name, _, kind = member.name.rpartition(".")
            if first is None and kind == "jpg":
                first = (name, data)
            elif first is not None and kind == "json" and name == first[0]:
                yield name, first[1], data
                first = None
            else:
                raise ValueError(f"{member.name} does not stand beside its other half")
        if first is not None:
            raise ValueError(f"{first[0]}.json is missing")


@contextmanager
def cannot_be_read(folder: Place, tar: ReleasedTar) -> Iterator[None]:
    """Raises InputError that names the tar and the command that says more, where it or its index cannot be read."""
    try:
        yield
    except InputError:
        raise
    except (OSError, EOFError, tarfile.TarError, pa.ArrowException, KeyError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise InputError(
            f"{folder / tar.tar.name}: cannot be read with its index: {problem}; see what is damaged with: "
            f"sam-engine release verify {folder}"
        ) from error


def count_annotators(folder: Place, tars: Sequence[ReleasedTar]) -> dict[str, int]:
    """Masks by who made them, of a release in `folder` whose manifest need not be there yet."""
    found: Counter[str] = Counter()
    for tar in tars:
        index = pq.read_table(pa.BufferReader((folder / tar.mask_index.name).read()), columns=["annotator"])
        found.update(index["annotator"].to_pylist())
    return dict(sorted(found.items()))


def pictures_of(folder: Place, tar: ReleasedTar) -> Iterator[PictureOfRelease]:
    """The pictures of a tar of the release in `folder`, one by one. Raises InputError where it cannot be read."""
    path = folder / tar.tar.name
    with cannot_be_read(folder, tar):
        images = {row["file_name"]: row for row in read_index(folder / tar.image_index.name, IMAGE_INDEX)}
        masks = {row["id"]: row for row in read_index(folder / tar.mask_index.name, MASK_INDEX)}
        for name, jpeg, text in tar_members(path):
            record = parse_record(text, name=f"{path}: {name}.json")
            rows = [masks[annotation.id] for annotation in record.annotations]
            yield PictureOfRelease(name, jpeg, record, images[f"{name}.jpg"], rows)
