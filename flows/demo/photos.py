"""The pictures of the demo: they ship inside scikit-image, the ground truth for them ships here."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engine.analysis.overlays import save_png
from schemas.errors import InputError

PAVEMENT = "brick.png"


def bricks_path() -> Path:
    """The COCO file with the masks of bricks in squares of one photograph; `cut_bricks` makes the pictures.

    Its image records carry `crop_xy`, the square's upper left corner in the photograph, and `split`: "train", or
    "holdout" for those that only measure. No brick is in squares of both.
    """
    return Path(__file__).with_name("bricks.json")


def photographs_path() -> Path:
    """The COCO file with masks drawn by hand for ordinary photographs; `file_name` is relative to `photos_folder()`."""
    return Path(__file__).with_name("photographs.json")


def photos_folder() -> Path:
    """The folder of the installed scikit-image that holds the photographs. Raises InputError if it is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise InputError(
            "scikit-image: not installed; the demo takes its photographs from it: pip install scikit-image"
        )
    return Path(spec.origin).parent / "data"


def check_photos() -> None:
    """Raises InputError naming the photographs of the demo that the installed scikit-image lacks."""
    folder = photos_folder()
    names = [PAVEMENT, *(record["file_name"] for record in _images(photographs_path()))]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: no {', '.join(missing)}; install it again: pip install --force-reinstall scikit-image"
        )


def cut_bricks(folder: Path) -> None:
    """Write the squares that `bricks_path()` describes into a folder, as PNG files; those that are there stay."""
    with Image.open(photos_folder() / PAVEMENT) as photograph:
        for record in _images(bricks_path()):
            path = folder / record["file_name"]
            x, y = record["crop_xy"]
            if not path.is_file():
                square = photograph.crop((x, y, x + record["width"], y + record["height"]))
                save_png(np.asarray(square), path)


def _images(coco: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(coco.read_text(encoding="utf-8"))["images"]
    return records
