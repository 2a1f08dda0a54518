"""Reading pictures from untrusted files: one form out (RGB, 8 bit, upright), one clear line for what cannot be read."""

import hashlib
import io
import math
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.places import Place
from schemas.errors import InputError

# decode_image has a limit of its own that knows the workspace's settings; Pillow's would warn at 89 megapixels.
Image.MAX_IMAGE_PIXELS = None
Image.init()  # loads all readers: one that is not loaded yet cannot be named in `formats`
# Pillow warns of odd metadata that does not touch the pixels; one batch can hold thousands of such files.
warnings.filterwarnings("ignore", module=r"PIL\.")

# What the pixels of these formats mean is settled; Pillow's other readers include one that runs a PostScript program.
EXTENSIONS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tif",
    "GIF": "gif",
    "PPM": "ppm",
}
# A multi-picture JPEG has no reader of its own: the one for JPEG finds out.
_READERS = [name for name in EXTENSIONS if name != "MPO"]
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
MIN_SIDE_PX = 16
# Pictures above this are decoded one at a time, or many threads at once would need tens of gigabytes.
_HUGE_PX = 50_000_000
_ORIENTATION = 0x0112  # EXIF
_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap width and height
_huge_turn = threading.Lock()
DEFAULT_MAX_MEGAPIXELS = 500.0


class DecodedImage(NamedTuple):
    """pixels: (height, width, 3) uint8 RGB, upright. extension: of the file's true format, without a dot.

    full_hw: (height, width) of the picture in the file, upright; larger than the pixels' where it was decoded smaller.
    """

    pixels: npt.NDArray[np.uint8]
    extension: str
    full_hw: tuple[int, int]


def content_id(data: bytes) -> int:
    """The first 63 bits of the SHA-256 of `data`: equal files have equal ids, and it fits a signed 64-bit column."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def read_bytes(path: Path | Place) -> bytes:
    """The bytes of a file. Raises InputError naming it if it cannot be read."""
    try:
        return path.read_bytes() if isinstance(path, Path) else path.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture after EXIF orientation, by its header. Raises InputError where it has none."""
    (width, height), orientation = _header(path)
    return (width, height) if orientation in _TURNED else (height, width)


def _header(path: Path) -> tuple[tuple[int, int], int]:
    try:
        with Image.open(path, formats=_READERS) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            return image.size, orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        raise InputError(f"{path}: cannot read its size: {' '.join(str(error).split())}") from error


def decode_image(
    data: bytes | Path | Place, *, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS, name: str | None = None
) -> npt.NDArray[np.uint8]:
    """Decode a picture to (height, width, 3) uint8 RGB, turned upright by its EXIF orientation.

    Grey, palette, CMYK and YCbCr become RGB; 16-bit samples are scaled to 8 bit (65535 -> 255); transparent pixels are
    laid on white; of several frames the first is taken. `name` stands in messages where `data` is bytes.
    Raises InputError naming the file if it is missing, empty, cut off, no picture, of an unknown kind, narrower or
    lower than 16 px, or larger than `max_megapixels`.
    """
    return decode_image_file(data, max_megapixels=max_megapixels, name=name).pixels


def decode_image_file(
    data: bytes | Path | Place,
    *,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    name: str | None = None,
    longest_px: int | None = None,
) -> DecodedImage:
    """As decode_image, and tells the extension that fits the file's true format.

    longest_px: enough for the longest side. A JPEG that is at least twice as large is decoded at a half, a quarter or
    an eighth of its size, in a third to a tenth of the time: each pixel is the mean of those that it stands for.
    """
    name = name or ("image" if isinstance(data, bytes) else str(data))
    content = data if isinstance(data, bytes) else read_bytes(data)
    if not content:
        raise InputError(f"{name}: the file is empty")
    try:
        return _decode(content, name, max_megapixels, longest_px)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not a picture in a format that can be read ({', '.join(_READERS)})") from error
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: the picture is damaged or cut off: {reason}") from error


def _decode(content: bytes, name: str, max_megapixels: float, longest_px: int | None) -> DecodedImage:
    with Image.open(io.BytesIO(content), formats=_READERS) as image:
        extension = EXTENSIONS[str(image.format)]
        width, height = image.size
        if min(width, height) < MIN_SIDE_PX:
            raise InputError(f"{name}: {width}x{height} px; a picture needs at least {MIN_SIDE_PX} px on each side")
        if width * height > max_megapixels * 1e6:
            raise InputError(
                f"{name}: {width}x{height} px is more than images.max_megapixels = {max_megapixels:g}; "
                "scale the picture down or raise the setting"
            )
        if longest_px is not None and longest_px < max(width, height):
            scale = longest_px / max(width, height)
            image.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
        with _huge_turn if width * height > _HUGE_PX else nullcontext():
            image.load()
            upright = ImageOps.exif_transpose(image)
            turned = upright.size[0] == image.size[1] != image.size[0]
            full_hw = (width, height) if turned else (height, width)
            return DecodedImage(np.ascontiguousarray(_to_rgb(upright, name)), extension, full_hw)


def _to_rgb(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):
        return _from_16_bit(np.asarray(image), name)
    if image.mode == "F":
        raise InputError(f"{name}: floating-point samples have no fixed range; save it with 8 or 16 bit")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _from_16_bit(samples: npt.NDArray[np.integer], name: str) -> npt.NDArray[np.uint8]:
    if samples.min() < 0 or samples.max() > 65535:
        raise InputError(f"{name}: 32-bit samples have no fixed range; save it with 8 or 16 bit")
    grey = ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
