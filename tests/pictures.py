"""Small pictures of shapes with their exact masks, and COCO files of them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine import rle as rle_codec


def shapes(seed: int, *, width: int = 96, height: int = 64, count: int = 3) -> tuple[np.ndarray, list[np.ndarray]]:
    """A noisy picture (height, width, 3) with `count` coloured ellipses, and the masks of what is seen of each."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 110, size=(height, width, 3), dtype=np.uint8)
    owner = np.zeros((height, width), dtype=np.int64)
    rows, columns = np.mgrid[:height, :width]
    for number in range(1, count + 1):
        x, y = rng.uniform(0.2, 0.8, size=2) * (width, height)
        inside = ((columns - x) / rng.uniform(8, 20)) ** 2 + ((rows - y) / rng.uniform(8, 16)) ** 2 <= 1
        image[inside] = rng.integers(0, 255, size=3)
        owner[inside] = number
    return image, [owner == number for number in range(1, count + 1) if (owner == number).any()]


def encoded(image: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as a file of a format."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def write_coco(
    folder: Path, *, count: int, first_seed: int = 0, name: str = "shapes", splits: dict[int, str] | None = None
) -> Path:
    """`count` pictures of shapes and a COCO file NAME.json with their masks; `splits` by number of picture."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        image, masks = shapes(first_seed + number)
        file_name = f"{name}/{number}.png"
        (folder / file_name).write_bytes(encoded(image))
        record = {"id": number, "file_name": file_name, "height": image.shape[0], "width": image.shape[1]}
        images.append(record | ({"split": splits[number]} if splits and number in splits else {}))
        for mask in masks:
            annotation = {"id": len(annotations), "image_id": number, "category_id": 1, "label": "ellipse"}
            annotations.append(annotation | {"segmentation": rle_codec.encode(mask).to_coco()})
    path = folder / f"{name}.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]})
    )
    return path
