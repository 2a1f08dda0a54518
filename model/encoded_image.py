"""A picture as it is given, and as a predictor keeps it once it is encoded."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.errors import InputError


@dataclass(frozen=True)
class EncodedImage:
    """An encoded picture: what its model made of it, and the picture's own (height, width).

    stretched: whether the model saw it stretched to a square, rather than padded.
    """

    embedding: Any
    image_hw: tuple[int, int]
    stretched: bool = False


def check_image(image: Any) -> None:
    """Raises InputError unless image is a (H, W, 3) uint8 array with at least one pixel."""
    if not isinstance(image, np.ndarray):
        raise InputError(f"image: expected a numpy array (height, width, 3) of uint8, found {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"image: expected (height, width, 3) RGB, found shape {image.shape}")
    if image.dtype != np.uint8:
        raise InputError(f"image: expected uint8 in 0..255, found {image.dtype}; convert it first")
