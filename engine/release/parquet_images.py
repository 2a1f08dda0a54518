"""A release as Parquet with the pictures inside, for Hugging Face's `datasets`: `data/*.parquet` and a `README.md`.

A row is a picture: its JPEG, its numbers, and its masks as COCO's compressed run lengths.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from engine.release.licences import LICENSE_FILE, licence_text
from engine.release.reader import PictureOfRelease, Release
from schemas.counted import counted

_ROWS_AT_ONCE = 50  # of a row group: what is in memory, and what the hub's viewer reads at once
_SEGMENTATION = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
_MASK = pa.struct(
    [
        ("id", pa.int64()),
        ("segmentation", _SEGMENTATION),
        ("bbox", pa.list_(pa.float32())),
        ("area", pa.int64()),
        ("predicted_iou", pa.float32()),
        ("stability_score", pa.float32()),
        ("label", pa.string()),
        ("stage", pa.string()),
        ("origin", pa.string()),
    ]
)
# What `datasets` reads of a column that Parquet has no type for.
_IMAGE_FEATURE = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}
SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("image_id", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("masks", pa.list_(_MASK)),
    ],
    metadata=_IMAGE_FEATURE,
)


def export_parquet_images(release: Release, folder: Path) -> None:
    """A file for each tar and split. Boxes are XYWH; scores that nobody measured are null."""
    (folder / "data").mkdir()
    splits: dict[str, None] = {}
    for tar, pictures in groupby(release, key=lambda picture: str(picture.row["tar"])):
        _write_tar(folder / "data", tar.removesuffix(".tar").removeprefix("sa_"), pictures, splits)
    card = release.manifest.config.card
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in sorted(splits, reverse=True)]
    front = {"configs": [{"config_name": "default", "data_files": files}]}
    text = (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# {card.name or release.manifest.name}\n\n"
        f"The release `{release.manifest.name}` of sam-data-engine as Parquet: "
        f"{counted(release.manifest.masks, 'mask')} on {counted(release.manifest.images, 'picture')}.\n"
        "`pycocotools.mask.decode(mask['segmentation'])` gives a mask, (H, W) uint8.\n"
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / LICENSE_FILE).write_text(licence_text(card, name=release.manifest.name), encoding="utf-8")


def _write_tar(folder: Path, number: str, pictures: Iterator[PictureOfRelease], splits: dict[str, None]) -> None:
    waiting: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as open_files:
        writers: dict[str, pq.ParquetWriter] = {}
        for picture in pictures:
            split = picture.row["split"] or "train"
            if split not in writers:
                splits.setdefault(split)
                file = folder / f"{split}-{number}.parquet"
                writers[split] = open_files.enter_context(pq.ParquetWriter(file, SCHEMA, compression="zstd"))
            rows = waiting.setdefault(split, [])
            rows.append(_row(picture))
            if len(rows) == _ROWS_AT_ONCE:
                writers[split].write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                rows.clear()
        for split, rows in waiting.items():
            if rows:
                writers[split].write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


def _row(picture: PictureOfRelease) -> dict[str, Any]:
    return {
        "image": {"bytes": picture.jpeg, "path": f"{picture.name}.jpg"},
        "image_id": picture.row["image_id"],
        "width": picture.width,
        "height": picture.height,
        "masks": [
            {
                **annotation.model_dump(
                    include={"id", "segmentation", "bbox", "area", "predicted_iou", "stability_score"}
                ),
                **{name: row[name] for name in ("label", "stage", "origin")},
            }
            for annotation, row in zip(picture.record.annotations, picture.mask_rows, strict=True)
        ],
    }
