"""What a dataset release is made of: the columns of its index and its manifest.

A release is a folder: `sa_000000.tar`, ... with `sa_<image_id>.jpg` and `sa_<image_id>.json` (schemas.sa1b) side by
side; `index/masks` and `index/images`, a Parquet file for each tar; `manifest.json`.

1  pictures and masks were called by their content ids; the mask index had them as `mask_id`
2  small numbers in json, file names and index, content ids beside them in the index
"""

import re
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from schemas.config import ReleaseConfig
from schemas.errors import InputError
from schemas.stages import Stage
from schemas.tables import BOX, POINTS

Format = Literal["sam-data-engine release 1", "sam-data-engine release 2"]
FIRST_FORMAT: Format = "sam-data-engine release 1"
FORMAT: Format = "sam-data-engine release 2"
MANIFEST_FILE = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def release_name(name: str) -> str:
    """The name itself. Raises InputError for one that a release, a folder of the workspace's releases, cannot have."""
    if not _NAME.fullmatch(name):
        raise InputError(f"release name {name!r}: use letters, digits, '-', '_' and '.', and no '.' in front")
    return name


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


# One row per mask, in the order of the tars. `id` and `image_id` are those of the json, `content_id` is the workspace's
# `mask_id`. Area, boxes and points are those of the released picture; boxes are XYXY
# pixels, right and bottom exclusive. `points` and `prompt_box_xyxy` are the prompt; the mask that was mended, where one
# was, stands in the json. What is unknown is NaN, "" or an empty list, as in the workspace's tables.
MASK_INDEX = _schema(
    id=pa.int64(),
    image_id=pa.int64(),
    content_id=pa.int64(),
    tar=pa.string(),
    stage=pa.string(),
    round=pa.int32(),
    origin=pa.string(),
    annotator=pa.string(),
    model_id=pa.string(),
    generator_config=pa.string(),
    area=pa.int64(),
    bbox_xyxy=BOX,
    predicted_iou=pa.float32(),
    stability_score=pa.float32(),
    crop_box_xyxy=BOX,
    points=POINTS,
    prompt_box_xyxy=BOX,
    label=pa.string(),
)

BLURRED = pa.list_(
    pa.struct(
        [
            ("detector", pa.string()),
            ("version", pa.string()),
            ("score", pa.float32()),
            ("box_xyxy", pa.list_(pa.int32())),
        ]
    )
)

# One row per picture, in the order of the tars. `content_id` is the workspace's `image_id`. `source` is the name of the
# file it came from, `source_width` and `source_height` its upright size; `masks_lost` counts masks too thin to show at
# the released size. `blur_detectors` names what was looked for, nothing where the picture is as it came; `blurred` has
# each part that was found, its box in pixels of the released picture. `country`: where it was taken, as ISO 3166 code
# of two letters, "" where nobody knows or ingest was not to tell.
IMAGE_INDEX = _schema(
    image_id=pa.int64(),
    content_id=pa.int64(),
    tar=pa.string(),
    file_name=pa.string(),
    width=pa.int32(),
    height=pa.int32(),
    source=pa.string(),
    source_width=pa.int32(),
    source_height=pa.int32(),
    split=pa.string(),
    masks=pa.int32(),
    masks_lost=pa.int32(),
    jpeg_bytes=pa.int64(),
    jpeg_sha256=pa.string(),
    blur_detectors=pa.list_(pa.string()),
    blurred=BLURRED,
    country=pa.string(),
)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReleasedFile(_Record):
    """A file of a release; `name` is relative to its folder."""

    name: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class ReleasedTar(_Record):
    """A tar with its two index files, and what is in it."""

    tar: ReleasedFile
    mask_index: ReleasedFile
    image_index: ReleasedFile
    images: int = Field(ge=0)
    masks: int = Field(ge=0)
    masks_lost: int = Field(ge=0)

    def files(self) -> tuple[ReleasedFile, ...]:
        """All files that this record vouches for."""
        return (self.tar, self.mask_index, self.image_index)


class MergedRelease(_Record):
    """One of the releases that a release was merged of, and what it was made of itself.

    images_known: pictures that a release before it has; of these its masks alone were taken. masks_left_out: masks of
    such pictures that were released in another size. image_offset, mask_offset: what was added to its numbers.
    """

    name: str
    key: str
    images: int = Field(ge=0)
    masks: int = Field(ge=0)
    images_known: int = Field(ge=0)
    masks_left_out: int = Field(ge=0)
    image_offset: int = Field(ge=0)
    mask_offset: int = Field(ge=0)
    stages: tuple[Stage, ...]
    table_versions: dict[str, int]
    config: ReleaseConfig
    parents: tuple[str, ...] = ()


class Manifest(_Record):
    """What a release holds and what it was made of.

    `key` follows from the table versions, the stages and the settings: equal keys are the same release. `masks_lost`
    counts masks that were too thin to show at the released size; `images_without_masks` those left out of the release.
    `withheld`: it holds the pictures that are in no other release. `previous`: name of the release that `changes` tells
    the difference from, where there was one. `parents`: keys of the releases that it was taken from, where it was not
    built from a workspace. `merged`: these releases, where several were merged; `table_versions` is empty then, and
    `config` is that of the first one but for the card.
    `card`: the README.md, which follows from the rest; releases of format 1 have none. `documents`: what describes the
    release besides (datasheet, licence, Croissant, statistics, preview), which follows from the rest and the tars;
    releases that were built before there were any have none.
    `annotators`: masks by who made them, as the index says, "" where nobody knows; empty where no mask was counted.
    `blur_versions` names the detectors of what is blurred, with their versions; empty where nothing is.
    """

    format: Format
    name: str
    key: str
    stages: tuple[Stage, ...]
    withheld: bool = False
    table_versions: dict[str, int]
    config: ReleaseConfig
    blur_versions: dict[str, str] = {}
    annotators: dict[str, int] = {}
    images: int = Field(ge=0)
    masks: int = Field(ge=0)
    masks_lost: int = Field(ge=0)
    images_without_masks: int = Field(ge=0)
    tars: tuple[ReleasedTar, ...]
    previous: str = ""
    changes: ReleasedFile | None = None
    card: ReleasedFile | None = None
    documents: tuple[ReleasedFile, ...] = ()
    parents: tuple[str, ...] = ()
    merged: tuple[MergedRelease, ...] = ()

    def files(self) -> tuple[ReleasedFile, ...]:
        """All files that the manifest vouches for."""
        of_tars = (file for record in self.tars for file in record.files())
        return (*of_tars, *self.beside_tars())

    def beside_tars(self) -> tuple[ReleasedFile, ...]:
        """Those that are not of a tar."""
        return (*(file for file in (self.changes, self.card) if file), *self.documents)

    @field_validator("config", mode="before")
    @classmethod
    def _before_blur(cls, config: Any) -> Any:
        """What was released before there was a setting for it is not blurred."""
        return {"blur": False, **config} if isinstance(config, dict) else config

    def file_names(self) -> set[str]:
        """Of all files of the release, relative to its folder."""
        return {MANIFEST_FILE, *(file.name for file in self.files())}
