"""Files as labelling tools write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from engine import rle as rle_codec
from engine.coco import CocoDataset
from tests.pictures import encoded

H, W = 64, 96


CORNERS = [(10, 10), (50, 10), (50, 40), (10, 40)]


def square(x0: int = 10, y0: int = 10, x1: int = 50, y1: int = 40) -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def set_folder(tmp_path: Path) -> Path:
    """A folder with one picture, a.jpg."""
    made = tmp_path / "set"
    made.mkdir()
    (made / "a.jpg").write_bytes(encoded(np.full((H, W, 3), 90, dtype=np.uint8), "JPEG"))
    return made


def put(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def masks(dataset: CocoDataset) -> list[np.ndarray]:
    return [rle_codec.decode(mask.rle) for image in dataset.images for mask in image.masks]


def labels(dataset: CocoDataset) -> list[str]:
    return [mask.label for image in dataset.images for mask in image.masks]


def cvat(shapes: str, *, size: str = f'width="{W}" height="{H}"') -> str:
    picture = f'<image id="0" name="a.jpg" {size}>{shapes}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta/>{picture}</annotations>'


def points(corners: list[tuple[int, int]]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)


POLYGON = f'<polygon label="cat" occluded="0" points="{points(CORNERS)}" z_order="0"/>'


def voc(objects: str) -> str:
    size = f"<size><width>{W}</width><height>{H}</height><depth>3</depth></size>"
    head = f"<folder>VOC</folder><filename>a.jpg</filename>{size}<segmented>1</segmented>"
    return f"<annotation>{head}{objects}</annotation>"


def voc_object(name: str, more: str = "") -> str:
    box = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>"
    return f"<object><name>{name}</name>{box}{more}</object>"
