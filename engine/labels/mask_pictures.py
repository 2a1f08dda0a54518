"""Pictures that hold masks, beside the label files that name them."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

_MAX_PIXELS = 500_000_000


def inside(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder or below; None where there is none, or it leads out of the folder."""
    try:
        path = folder / name
        good = path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return None
    return path if good else None


def read_samples(file: Path | BinaryIO, mode: str) -> npt.NDArray[np.uint8] | None:
    """(height, width) or, in RGB, (height, width, 3) samples of a PNG; None where it cannot be read."""
    try:
        with Image.open(file, formats=["PNG"]) as image:
            return None if image.width * image.height > _MAX_PIXELS else np.asarray(image.convert(mode))
    except Exception:  # Pillow's readers raise nearly anything on broken files; the caller names the mask
        return None
