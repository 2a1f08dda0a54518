"""Pictures that hold masks, beside the label files that name them."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

# Endings of files that may hold masks, and Pillow's readers of them.
KINDS = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg"})
_READERS = ["PNG", "TIFF", "BMP", "GIF", "JPEG"]
_MAX_PIXELS = 500_000_000
_DEEP = ("I", "I;16", "I;16B")
_MOST_VALUES = 64  # of grey masks that lie beside their pictures
_BLACK, _WHITE = 48, 207  # JPEG spreads what was black and white
_MOST_COLOURS = 512  # of masks that are drawn in a colour each


def inside(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder or below; None where there is none, or it leads out of the folder."""
    try:
        path = folder / name
        good = path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return None
    return path if good else None


def read_indices(file: Path) -> npt.NDArray[np.int64] | None:
    """(height, width) values of a grey, 16-bit or palette picture, as they are stored; None where it is none of these.

    Of a JPEG 0 and 255, None where there are other values than near these. Of one in Pascal VOC's colours, which some
    tools write without the palette, the numbers that they stand for.
    """
    try:
        with Image.open(file, formats=_READERS) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            if image.format == "JPEG":
                return _of_two_values(np.asarray(image.convert("L")))
            if image.mode in ("RGB", "RGBA") or _has_black_elsewhere(image):
                return _of_voc_colours(np.asarray(image.convert("RGB")))
            return np.asarray(image).astype(np.int64) if image.mode in ("1", "L", "P", *_DEEP) else None
    except Exception:  # Pillow's readers raise nearly anything on broken files; the caller names the mask
        return None


def _has_black_elsewhere(image: Image.Image) -> bool:
    """Whether a palette has black, which is no object, at another number than 0: its numbers mean nothing then."""
    if image.mode != "P":
        return False
    colours = np.reshape(image.getpalette("RGB") or [0, 0, 0], (-1, 3))
    black = np.flatnonzero(~colours.any(axis=1))
    return bool(colours[0].any()) and bool(np.isin(np.asarray(image), black).any())


def is_deep(file: Path) -> bool:
    """Whether it holds one number of more than 8 bits a pixel."""
    try:
        with Image.open(file, formats=_READERS) as image:
            return image.mode in _DEEP
    except Exception:  # Pillow's readers raise nearly anything on broken files; who reads it says so
        return False


def is_photograph(file: Path) -> bool:
    """Whether a picture has more colours than a drawing of masks would; of a JPEG, whether it is not all grey."""
    samples = read_samples(file, "RGB")
    if samples is None or (samples[..., 0] == samples[..., 1]).all():
        return False
    if file.suffix.lower() in (".jpg", ".jpeg"):
        return bool((np.ptp(samples.astype(np.int16), axis=2) > _BLACK).any())
    return len(np.unique(samples.reshape(-1, 3)[:: max(1, samples.size // 300_000)], axis=0)) > _MOST_COLOURS


def has_few_values(file: Path) -> bool:
    """Whether a picture looks like a mask: few values, numbers of more than 8 bits, or the colours of a drawing."""
    numbers = read_indices(file)
    if numbers is None and (samples := read_samples(file, "RGB")) is not None:
        if not np.ptp(samples, axis=2).any():  # grey in three channels
            numbers = samples[..., 0].astype(np.int64)
        else:
            return file.suffix.lower() not in (".jpg", ".jpeg") and not is_photograph(file)
    return numbers is not None and (int(numbers.max(initial=0)) > 255 or len(np.unique(numbers)) <= _MOST_VALUES)


def _of_two_values(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64] | None:
    """0 and 255 where one in a hundred pixels at most lies between black and white."""
    between = np.count_nonzero((grey > _BLACK) & (grey < _WHITE))
    return np.where(grey > 127, 255, 0).astype(np.int64) if between <= 0.01 * grey.size else None


def _of_voc_colours(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64] | None:
    """Numbers 0 to 255 by Pascal VOC's map, whose bits 0, 3, 6 are the high bits of red, and so on; None for others."""
    numbers = np.arange(256)
    codes = np.zeros(256, dtype=np.int64)
    for bit in range(8):  # of the number; red has the lowest bits in its place 0, in the codes' too
        codes |= (numbers >> bit & 1) << (8 * (bit % 3) + 7 - bit // 3)
    order = np.argsort(codes)
    found = colours.astype(np.int64) @ np.array([1, 256, 65536])
    place = order[np.searchsorted(codes, found, sorter=order).clip(max=255)]
    return place.astype(np.int64) if (codes[place] == found).all() else None


def read_samples(file: Path | BinaryIO, mode: str) -> npt.NDArray[np.uint8] | None:
    """(height, width) or, in RGB, (height, width, 3) samples of a picture; None where it cannot be read."""
    try:
        with Image.open(file, formats=_READERS) as image:
            return None if image.width * image.height > _MAX_PIXELS else np.asarray(image.convert(mode))
    except Exception:  # Pillow's readers raise nearly anything on broken files; the caller names the mask
        return None
