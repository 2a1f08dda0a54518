"""The photographs of the demo: they ship inside scikit-image, the ground truth for them ships here."""

import importlib.util
import json
from pathlib import Path

from schemas.errors import InputError


def ground_truth_path() -> Path:
    """The COCO file with masks drawn by hand for the demo's photographs; `file_name` is relative to `photos_folder()`.

    Its image records carry `split`: "train", or "holdout" for those that only measure.
    """
    return Path(__file__).with_name("ground_truth.json")


def photos_folder() -> Path:
    """The folder of the installed scikit-image that holds the photographs. Raises InputError if it is not installed."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise InputError(
            "scikit-image: not installed; the demo takes its photographs from it: pip install scikit-image"
        )
    return Path(spec.origin).parent / "data"


def demo_photos() -> list[Path]:
    """The photographs that the ground truth was drawn for, in its order.

    Raises InputError naming the photographs that the installed scikit-image lacks.
    """
    folder = photos_folder()
    records = json.loads(ground_truth_path().read_text(encoding="utf-8"))["images"]
    photos = [folder / record["file_name"] for record in records]
    missing = [photo.name for photo in photos if not photo.is_file()]
    if missing:
        raise InputError(
            f"{folder}: no {', '.join(missing)}; install it again: pip install --force-reinstall scikit-image"
        )
    return photos
