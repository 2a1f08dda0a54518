"""From what a picture's file holds to 8-bit sRGB: colour profiles, samples of more than 8 bits, transparency."""

import io
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from schemas.errors import InputError

# Cameras and microscopes write values of so many bits into samples of 16.
_BIT_DEPTHS = (8, 10, 12, 14, 16)


def to_srgb(
    image: Image.Image, samples: npt.NDArray[np.uint16] | None, name: str, bit_depth: int | None
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """The (height, width, 3) uint8 sRGB pixels of a loaded picture, and a line on each thing that was assumed.

    samples: (height, width, 3) RGB where the file has 16 bits for each colour, which Pillow cuts to 8.
    bit_depth: of the values in samples of more than 8 bits; None to tell it from the largest value.
    Raises InputError naming the picture where its samples have no value at all.
    """
    notes: list[str] = []
    if image.mode.startswith("I") or image.mode == "F":
        grey = _to_8_bit(np.asarray(image), name, bit_depth, notes)
        return np.repeat(grey[:, :, None], 3, axis=2), notes
    if samples is not None:
        scaled = _to_8_bit(samples, name, bit_depth, notes)
        if notes or bit_depth is not None:  # else they fill 16 bits, and what Pillow made of them is right
            image = _with_colours(image, scaled)
    image = _in_srgb(image, notes)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB")), notes


def deep_samples(content: bytes, image: Image.Image) -> npt.NDArray[np.uint16] | None:
    """(height, width, 3) RGB samples of a PNG or TIFF with 16 bits for each colour; None for others and turned TIFF."""
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA") or not _has_16_bits(content, image):
        return None
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    samples = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3 or samples.shape[1::-1] != image.size:
        return None
    return np.ascontiguousarray(samples[:, :, 2::-1])


def _has_16_bits(content: bytes, image: Image.Image) -> bool:
    if image.format == "PNG":
        return len(content) > 24 and content[24] == 16  # of its header
    tags = getattr(image, "tag_v2", {})
    return set(np.atleast_1d(tags.get(258, 0)).tolist()) == {16} and tags.get(274, 1) == 1  # BitsPerSample, Orientation


def _with_colours(image: Image.Image, colours: npt.NDArray[np.uint8]) -> Image.Image:
    fresh = Image.fromarray(colours)
    if image.mode == "RGBA":
        fresh.putalpha(image.getchannel("A"))
    fresh.info = dict(image.info)
    return fresh


def _to_8_bit(
    samples: npt.NDArray[np.generic], name: str, bit_depth: int | None, notes: list[str]
) -> npt.NDArray[np.uint8]:
    """Values from 0 to the largest of their bit depth as 0 to 255; from the lowest to the highest where none fits."""
    values = samples.astype(np.float64) if samples.dtype.kind == "f" else samples.astype(np.int64)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        finite = values[np.isfinite(values)]
        if not finite.size:
            raise InputError(f"{name}: none of its samples is a number")
        values[...] = np.nan_to_num(values, nan=finite.min(), posinf=finite.max(), neginf=finite.min())
        notes.append("samples that are no numbers taken for the lowest or highest")
    low, top = _range(values, bit_depth, notes)
    spread = np.clip(values, low, top) - low
    if spread.dtype.kind == "f":
        return np.asarray(np.rint(spread * (255 / (top - low))), dtype=np.uint8)
    width = int(top - low)
    return np.asarray((spread * 255 + (width - 1) // 2) // width, dtype=np.uint8)


def _range(values: npt.NDArray[np.generic], bit_depth: int | None, notes: list[str]) -> tuple[float, float]:
    """What becomes 0 and 255."""
    if bit_depth is not None:
        return 0, 2**bit_depth - 1
    low, high = values.min(), values.max()
    if low >= 0 and values.dtype.kind == "f" and high <= 1:
        notes.append("floating-point samples from 0 to 1 scaled")
        return 0, 1
    if low >= 0 and high <= 65535:
        bits = next(bits for bits in _BIT_DEPTHS if high < 2**bits)
        if bits < 16:
            notes.append(f"values of {bits} bits in samples of more scaled")
        return 0, 2**bits - 1
    notes.append("samples scaled from the lowest to the highest value")
    return low, high if high > low else low + 1


def _in_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """The same colours in sRGB where the file names another colour space."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return image
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    try:
        transform = _to_srgb_transform(profile, image.mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("colour profile that does not fit left out")
        return image
    if transform is None:
        return image
    info = dict(image.info)
    image = transform.apply(image)
    image.info = {key: value for key, value in info.items() if key == "transparency" and image.mode == "RGB"}
    return image


@lru_cache(maxsize=32)
def _to_srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where the profile is sRGB's own, or grey with its tone curve: the pixels are right as they are."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = opened.profile.xcolor_space.strip()
    if space == "RGB" and "srgb" in (opened.profile.profile_description or "").lower():
        return None
    modes = {"RGB": ("RGB", "RGBA"), "GRAY": ("L",), "CMYK": ("CMYK",), "LAB": ("LAB",)}
    if mode not in modes.get(space, ()):
        raise ValueError(f"a profile for {space} on {mode}")
    return ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGBA" if mode == "RGBA" else "RGB")
