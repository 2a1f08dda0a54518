"""Releases as files of labelme: `sa_1.jpg` and `sa_1.json` side by side, for labelme and `sam-engine ingest`.

    pip install --no-deps -e examples/labelme_exporter
    sam-engine release export RELEASE --format labelme --output labelme

A mask is a shape of the type "mask": its box and, in a PNG, the pixels within. One without a label is called "object".
"""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine import rle
from engine.release.reader import PictureOfRelease, Release
from schemas.mask import Mask


def export_labelme(release: Release, folder: Path, /) -> None:
    """Fill an empty folder with a release in this form."""
    for picture in release:
        (folder / f"{picture.name}.jpg").write_bytes(picture.jpeg)
        (folder / f"{picture.name}.json").write_text(json.dumps(_content(picture)), encoding="utf-8")


def _content(picture: PictureOfRelease) -> dict[str, Any]:
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [_shape(mask) for mask in picture.masks()],
        "imagePath": f"{picture.name}.jpg",
        "imageData": None,
        "imageHeight": picture.height,
        "imageWidth": picture.width,
    }


def _shape(mask: Mask) -> dict[str, Any]:
    x0, y0, x1, y1 = (round(side) for side in mask.box)
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rle.decode(mask.rle)[y0:y1, x0:x1])).save(encoded, format="PNG")
    return {
        "label": mask.label or "object",
        "points": [[x0, y0], [x1 - 1, y1 - 1]],  # labelme's corners are pixels of the mask
        "group_id": None,
        "description": "",
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(encoded.getvalue()).decode(),
    }
