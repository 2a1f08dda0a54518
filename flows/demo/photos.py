"""The pictures of the demo: they ship inside scikit-image, the ground truth for them ships here."""

import importlib.util
import json
from pathlib import Path

import numpy as np
from PIL import Image

from engine.analysis.overlays import save_png
from schemas.errors import InputError

PAVEMENT, PORTRAIT = "brick.png", "astronaut.png"


def bricks_path() -> Path:
    """The COCO file with the masks of bricks in squares of one photograph; `cut_bricks` makes the pictures.

    Its image records carry `crop_xy`, the square's upper left corner in the photograph, and `split`: "train", or
    "holdout" for those that only measure. No brick is in squares of both.
    """
    return Path(__file__).with_name("bricks.json")


def photos_folder() -> Path:
    """The folder of the installed scikit-image that holds the photograph. Raises InputError if it is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise InputError("scikit-image: not installed; the demo takes its photograph from it: pip install scikit-image")
    return Path(spec.origin).parent / "data"


def cut_bricks(folder: Path) -> None:
    """Write the squares that `bricks_path()` describes into a folder, as PNG files; those that are there stay.

    Raises InputError where the installed scikit-image lacks the photograph.
    """
    with Image.open(_photo(PAVEMENT)) as photograph:
        for record in json.loads(bricks_path().read_text(encoding="utf-8"))["images"]:
            path = folder / record["file_name"]
            x, y = record["crop_xy"]
            if not path.is_file():
                square = photograph.crop((x, y, x + record["width"], y + record["height"]))
                save_png(np.asarray(square), path)


def portrait_path() -> Path:
    """A photograph of a person: a face for the release to blur. Raises InputError where it is not installed."""
    return _photo(PORTRAIT)


def _photo(name: str) -> Path:
    path = photos_folder() / name
    if not path.is_file():
        raise InputError(f"{path}: no such file; install it again: pip install --force-reinstall scikit-image")
    return path
