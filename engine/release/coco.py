"""A release as COCO instances: `images/` and `annotations.json`, which `sam-engine ingest` and pycocotools read."""

import json
from pathlib import Path
from typing import IO, Any

from engine.release.reader import PictureOfRelease, Release

_NO_LABEL = "object"  # COCO wants a category for every annotation


def export_coco(release: Release, folder: Path) -> None:
    """Boxes are XYWH. Each image keeps its `split`, each annotation its `label` ("" where it has none), as
    `engine.coco` reads them back. Annotations are written picture by picture, so they need not fit into memory."""
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    with (folder / "annotations.json").open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        first = True
        for picture in release:
            (folder / "images" / f"{picture.name}.jpg").write_bytes(picture.jpeg)
            images.append(_image(picture))
            for annotation in _annotations(picture, categories):
                _write(file, annotation, first=first)
                first = False
        named = [{"id": number, "name": name} for name, number in categories.items()]
        file.write(f'],\n"images": {json.dumps(images)},\n"categories": {json.dumps(named)}}}\n')


def _image(picture: PictureOfRelease) -> dict[str, Any]:
    split = {"split": picture.row["split"]} if picture.row["split"] else {}
    name = f"images/{picture.name}.jpg"
    return {
        "id": picture.row["image_id"],
        "file_name": name,
        "width": picture.width,
        "height": picture.height,
    } | split


def _annotations(picture: PictureOfRelease, categories: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "id": annotation.id,
            "image_id": picture.row["image_id"],
            "category_id": categories.setdefault(row["label"] or _NO_LABEL, len(categories) + 1),
            "iscrowd": 0,
            "segmentation": annotation.segmentation.model_dump(mode="json"),
            "bbox": list(annotation.bbox),
            "area": annotation.area,
            "label": row["label"],
        }
        for annotation, row in zip(picture.record.annotations, picture.mask_rows, strict=True)
    ]


def _write(file: IO[str], annotation: dict[str, Any], *, first: bool) -> None:
    file.write(("\n" if first else ",\n") + json.dumps(annotation))
