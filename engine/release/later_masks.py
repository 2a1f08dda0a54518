"""Masks of pictures that an earlier release of a merge has too, kept on disk until that picture's turn comes."""

import json
import sqlite3
from collections import Counter
from collections.abc import Set
from pathlib import Path
from types import TracebackType
from typing import Any

from engine.release.reader import PictureOfRelease, Release
from schemas.sa1b import Sa1bAnnotation

# In json and index, by their numbers in the merged release.
LaterMasksOfPicture = list[tuple[Sa1bAnnotation, dict[str, Any]]]


class LaterMasks:
    """left_out: by key of a release, its masks of pictures that the earlier release has in another size."""

    def __init__(self, scratch: Path) -> None:
        self._kept = sqlite3.connect(scratch / "later_masks")
        self._kept.execute("create table masks (content_id integer, place integer primary key, record text)")
        self._kept.execute("create index by_picture on masks (content_id)")
        self.left_out: Counter[str] = Counter()

    def __enter__(self) -> "LaterMasks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    def keep(self, release: Release, content_ids: Set[int], *, mask_offset: int) -> None:
        """Keep the masks that a release has on these pictures, by their numbers in the merged release."""
        for picture in release:
            if picture.row["content_id"] not in content_ids:
                continue
            masks = [
                {"annotation": _moved(annotation, mask_offset), "row": row | {"id": row["id"] + mask_offset}}
                for annotation, row in zip(picture.record.annotations, picture.mask_rows, strict=True)
            ]
            record = json.dumps([release.manifest.key, picture.width, picture.height, masks])
            self._kept.execute(
                "insert into masks (content_id, record) values (?, ?)", (picture.row["content_id"], record)
            )
        self._kept.commit()

    def of(self, content_id: int, picture: PictureOfRelease, *, mask_offset: int) -> LaterMasksOfPicture:
        """What is kept for a picture, without masks that it has already and those of another size.

        mask_offset: of the release that the picture is from.
        """
        known = {each.segmentation.counts: each.id + mask_offset for each in picture.record.annotations}
        found: list[dict[str, Any]] = []
        same: dict[int, int] = {}  # numbers of masks that are left out, with those of the equal ones that stay
        question = "select record from masks where content_id = ? order by place"
        for (record,) in self._kept.execute(question, (content_id,)):
            key, width, height, masks = json.loads(record)
            if (width, height) != (picture.width, picture.height):
                self.left_out[key] += len(masks)
                continue
            for mask in masks:
                number, counts = mask["row"]["id"], mask["annotation"]["segmentation"]["counts"]
                same[number] = known.setdefault(counts, number)
                if same[number] == number:
                    found.append(mask)
        return [(_annotation(mask["annotation"], same), mask["row"]) for mask in found]


def _moved(annotation: Sa1bAnnotation, offset: int) -> dict[str, Any]:
    """As json, by its number in the merged release."""
    moved = annotation.model_dump(mode="json", exclude_unset=True)
    return moved | {name: moved[name] + offset for name in ("id", "parent") if moved.get(name) is not None}


def _annotation(record: dict[str, Any], same: dict[int, int]) -> Sa1bAnnotation:
    if record.get("parent") is not None:
        record = record | {"parent": same.get(record["parent"], record["parent"])}
    return Sa1bAnnotation.model_validate(record)
