"""Reading pictures from untrusted files: one form out (RGB, 8 bit, upright), one clear line for what cannot be read."""

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image, UnidentifiedImageError

from engine.orientation import TURNED, upright
from engine.pixels import deep_samples, to_srgb
from engine.places import Place
from schemas.content_ids import content_id
from schemas.errors import InputError

# decode_image has a limit of its own that knows the workspace's settings; Pillow's would warn at 89 megapixels.
Image.MAX_IMAGE_PIXELS = None
pillow_heif.register_heif_opener()
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
    "HEIF": "heic",
    "AVIF": "avif",
}
# A multi-picture JPEG has no reader of its own: the one for JPEG finds out.
_READERS = [name for name in EXTENSIONS if name != "MPO"]
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff"}
    | {".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif", ".avif"}
)
_RAW = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"}  # some are TIFF with a preview
)
UNREAD_SUFFIXES = _RAW | {
    *(".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".psd", ".exr", ".hdr", ".svg", ".eps", ".pdf", ".tga", ".dcm"),
    *(".ico", ".pcx", ".xcf", ".fits"),
}
MIN_SIDE_PX = 16
# Pictures above this are decoded one at a time, or many threads at once would need tens of gigabytes.
_HUGE_PX = 50_000_000
_ORIENTATION = 0x0112  # EXIF
_DNG_VERSION = 50706  # of TIFF: raw samples, of which only a small preview could be read
_huge_turn = threading.Lock()
DEFAULT_MAX_MEGAPIXELS = 500.0


class DecodedImage(NamedTuple):
    """pixels: (height, width, 3) uint8 sRGB, upright. extension: of the file's true format, without a dot.

    full_hw: (height, width) of the picture in the file, upright; larger than the pixels' where it was decoded smaller.
    pages: how many pictures (pages, frames) the file holds; the first is taken. notes: a line on each thing assumed.
    orientation: of EXIF, 1 to 8, by which the pixels were turned upright.
    """

    pixels: npt.NDArray[np.uint8]
    extension: str
    full_hw: tuple[int, int]
    pages: int = 1
    notes: tuple[str, ...] = ()
    orientation: int = 1


def read_bytes(path: Path | Place) -> bytes:
    """The bytes of a file. Raises InputError naming it if it cannot be read."""
    try:
        return path.read_bytes() if isinstance(path, Path) else path.read()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error


def read_original(path: Path | Place, image_id: int) -> bytes:
    """The bytes of an ingested picture. Raises InputError if its file is gone or is not the one that was ingested."""
    data = read_bytes(path)
    if content_id(data) != image_id:
        raise InputError(f"{path}: not the file that was ingested; put the original back")
    return data


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture after EXIF orientation, by its header. Raises InputError where it has none."""
    return _header(path)[0]


def orientation_of(path: Path) -> int:
    """The EXIF orientation of a picture, 1 to 8; 1 where it tells none. Raises InputError where it is no picture."""
    return _header(path)[1]


def page_count(data: bytes) -> int:
    """How many pages or frames a picture's file holds; 1 where that cannot be told."""
    try:
        with Image.open(io.BytesIO(data), formats=_READERS) as image:
            return _pages(image)
    except Exception:  # Pillow's readers raise nearly anything on broken files
        return 1


def _pages(image: Image.Image) -> int:
    try:
        return max(1, int(getattr(image, "n_frames", 1)))
    except Exception:  # the first page may be whole where a later one is not
        return 1


def _header(path: Path) -> tuple[tuple[int, int], int]:
    try:
        with Image.open(path, formats=_READERS) as image:
            (width, height), orientation = image.size, _orientation(image)
            turned = orientation in TURNED and image.format != "TIFF"  # of which Pillow tells the upright size
            return (width, height) if turned else (height, width), orientation
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        raise InputError(f"{path}: cannot read its size: {' '.join(str(error).split())}") from error


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_ORIENTATION, 1)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def decode_image(
    data: bytes | Path | Place,
    *,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    name: str | None = None,
    bit_depth: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode a picture to (height, width, 3) uint8 sRGB, turned upright by its EXIF orientation.

    Grey, palette, CMYK, YCbCr and colours of an ICC profile become sRGB; samples of more than 8 bits are scaled by
    `bit_depth`, else by their values: 4095 -> 255 where all fit into 12 bits, 65535 -> 255 where they need 16, and from
    the lowest to the highest where they need more. Transparent pixels are laid on white; of several frames the first
    is taken. `name` stands in messages where `data` is bytes.
    Raises InputError naming the file if it is missing, empty, cut off, no picture, of an unknown kind, narrower or
    lower than 16 px, or larger than `max_megapixels`.
    """
    return decode_image_file(data, max_megapixels=max_megapixels, name=name, bit_depth=bit_depth).pixels


def decode_image_file(
    data: bytes | Path | Place,
    *,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    name: str | None = None,
    longest_px: int | None = None,
    bit_depth: int | None = None,
) -> DecodedImage:
    """As decode_image, and tells the extension that fits the file's true format, its pages and what was assumed.

    longest_px: enough for the longest side. A JPEG that is at least twice as large is decoded at a half, a quarter or
    an eighth of its size, in a third to a tenth of the time: each pixel is the mean of those that it stands for.
    """
    name = name or ("image" if isinstance(data, bytes) else str(data))
    content = data if isinstance(data, bytes) else read_bytes(data)
    with _picture_errors(content, name):
        return _decode(content, name, max_megapixels, longest_px, bit_depth)


def decode_picture(data: bytes, *, name: str, bit_depth: int | None = None) -> Image.Image:
    """What `decode_image` gives, of any size, as Pillow's picture without anything beside its pixels.

    Two copies less for most photographs. Raises InputError as `decode_image`.
    """
    with _picture_errors(data, name), Image.open(io.BytesIO(data), formats=_READERS) as image:
        width, height = image.size
        told = {"icc_profile", "transparency"} & image.info.keys()
        if (image.format, image.mode, _orientation(image)) == ("JPEG", "RGB", 1) and not told:
            image.decodermaxblock = len(data)  # decoded at once: between pieces it would wait for other threads
            with _huge_turn if width * height > _HUGE_PX else nullcontext():
                image.load()
            image.info = {}
            return image
    return Image.fromarray(decode_image(data, max_megapixels=math.inf, name=name, bit_depth=bit_depth))


@contextmanager
def _picture_errors(content: bytes, name: str) -> Iterator[None]:
    """What is wrong with a picture's file, in one line."""
    if not content:
        raise InputError(f"{name}: the file is empty")
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not a picture in a format that can be read ({', '.join(_READERS)})") from error
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: the picture is damaged or cut off: {reason}") from error


def _decode(
    content: bytes, name: str, max_megapixels: float, longest_px: int | None, bit_depth: int | None
) -> DecodedImage:
    with Image.open(io.BytesIO(content), formats=_READERS) as image:
        extension, (width, height) = EXTENSIONS[str(image.format)], image.size
        _check(image, name, max_megapixels)
        if longest_px is not None and longest_px < max(width, height):
            scale = longest_px / max(width, height)
            image.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
        with _huge_turn if width * height > _HUGE_PX else nullcontext():
            pages, smaller, deep = _pages(image), image.size != (width, height), deep_samples(content, image)
            told = _orientation(image)
            image.load()
            stored, notes = to_srgb(image, deep, name, bit_depth)
            orientation = _orientation(image)  # Pillow has turned a TIFF by now, and takes it off
            pixels = np.ascontiguousarray(upright(stored, orientation))
            full_hw = (width, height) if orientation in TURNED else (height, width)
            if not smaller:
                full_hw = (pixels.shape[0], pixels.shape[1])
            return DecodedImage(pixels, extension, full_hw, pages, tuple(notes), told)


def _check(image: Image.Image, name: str, max_megapixels: float) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE_PX:
        raise InputError(f"{name}: {width}x{height} px; a picture needs at least {MIN_SIDE_PX} px on each side")
    if width * height > max_megapixels * 1e6:
        raise InputError(
            f"{name}: {width}x{height} px is more than images.max_megapixels = {max_megapixels:g}; "
            "scale the picture down or raise the setting"
        )
    if _DNG_VERSION in getattr(image, "tag_v2", {}):
        raise InputError(f"{name}: a camera's raw file (DNG), which is not read; develop it to JPEG, PNG or TIFF")
