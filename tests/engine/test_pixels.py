import base64
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.ImageCms import ImageCmsProfile, createProfile, profileToProfile

from engine.images import decode_image, decode_image_file
from schemas.errors import InputError

# 96 x 64 px of three colours in Display P3, the first of them (200, 80, 60).
OF_P3 = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAGAAAABACAIAAABqVuVZAAAA22lDQ1BJQ0MgUHJvZmlsZQAAeJxjYGC8k5OcW8zkwMCQm1dSFOTu"
    "pBARGaXA/oKBEQjBIDG5uMAxIMCHASf4dg2i9rIuyCzc6rACzpTU4mQg/QGIE5ILikoYGBgDgGye8pICEDsGyBYpAjoKyC4AsdMh"
    "7BYQOwnCngFWExLkDGSvAbIF0iHsPSB2EoR9BsSG2gUCzAHGJLqUCFCSWlECoiuAGBSOEFFE+CDEmu8xMNju/////w6EmNcuBoaN"
    "JgwMXLsQYhp2DAyCvAwMJ3YnlxaVQa1hZAK6nRAfAK9vP0zgu1MbAAAAqUlEQVR4nO3QMRWEUBDAwONKauQg4otBEHKQhYRU2/Bm"
    "BKTI9qzzN+la+2j/PtZo/z9a/wCDgkHBoGBQMCgYFAwKBgWDgkHBoGBQMCgYFAwKBgWDgkHBoGBQMCgYFAwKBgWDgkHBoGBQMCgY"
    "FAwKBgWDgkHBoGBQMCgYFAwKBgWDgkHBoGBQMCgYFAwKBgWDgkHBoGBQMCgYFAwKBgWDgkHBoGBQMCgYFF7KxgOmw2EsLQAAAABJ"
    "RU5ErkJggg=="
)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_littlecms_shows(picture: Image.Image) -> np.ndarray:
    profile = ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    shown = profileToProfile(picture, profile, createProfile("sRGB"), outputMode="RGB")
    assert shown is not None
    return np.asarray(shown).astype(int)


def ramp(top: int, dtype: type = np.uint16) -> np.ndarray:
    return np.linspace(0, top, 40 * 50).astype(dtype).reshape(40, 50)


def grey(samples: np.ndarray, **options: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """One channel of what a picture of these samples becomes, and the lines on what was assumed."""
    decoded = decode_image_file(saved(Image.fromarray(samples), "TIFF"), **options)
    assert (decoded.pixels == decoded.pixels[:, :, :1]).all()
    return decoded.pixels[:, :, 0], decoded.notes


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_colours_of_a_profile_become_srgb(kind: str) -> None:
    picture = Image.open(io.BytesIO(OF_P3))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(picture, kind, icc_profile=picture.info["icc_profile"], **options)
    pixels = decode_image(data).astype(int)
    assert np.abs(pixels[0, 0] - [218, 67, 47]).max() <= 2
    assert np.abs(pixels - as_littlecms_shows(Image.open(io.BytesIO(data)))).max() <= 2


def test_profiles_of_the_cases(shared_cases: Path) -> None:
    wanted = {"icc_p3": (218, 67, 47), "icc_adobergb": (230, 79, 56), "icc_prophoto": (255, 16, 70)}
    for name, colour in wanted.items():
        path = shared_cases / "colour" / f"{name}.png"
        pixels = decode_image(path).astype(int)
        assert np.abs(pixels[0, 0] - colour).max() <= 2, name
        assert np.abs(pixels - as_littlecms_shows(Image.open(path))).max() <= 2, name


def test_transparency_stays_beside_a_profile() -> None:
    opaque = picture = Image.open(io.BytesIO(OF_P3))
    profile = picture.info["icc_profile"]
    alpha = Image.fromarray(np.repeat([[0] * 48 + [255] * 48], 64, axis=0).astype(np.uint8))
    picture = picture.convert("RGBA")
    picture.putalpha(alpha)
    pixels = decode_image(saved(picture, "PNG", icc_profile=profile))
    assert (pixels[:, :48] == 255).all()
    assert np.abs(pixels[:, 48:] - as_littlecms_shows(opaque)[:, 48:]).max() <= 2


def test_a_profile_of_srgb_changes_nothing_and_a_broken_one_is_named() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    profile = ImageCmsProfile(createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(decode_image(saved(Image.fromarray(pixels), "PNG", icc_profile=profile)), pixels)
    decoded = decode_image_file(saved(Image.fromarray(pixels), "PNG", icc_profile=b"no profile"))
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert decoded.notes == ("colour profile that does not fit left out",)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_fewer_bits_in_16_are_scaled_by_their_range(bits: int) -> None:
    samples = ramp(2**bits - 1)
    pixels, notes = grey(samples)
    np.testing.assert_array_equal(pixels, np.rint(samples * 255.0 / (2**bits - 1)))
    assert notes == (f"values of {bits} bits in samples of more scaled",)


def test_the_bit_depth_may_be_told() -> None:
    samples = ramp(1000)
    pixels, notes = grey(samples, bit_depth=12)
    np.testing.assert_array_equal(pixels, np.rint(samples * 255.0 / 4095))
    assert notes == ()
    assert grey(ramp(65535), bit_depth=12)[0][-1, -1] == 255


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [12, 16])
def test_colours_of_16_bits_are_scaled_alike(kind: str, bits: int) -> None:
    samples = np.stack([ramp(2**bits - 1), ramp(2 ** (bits - 1)), ramp(2 ** (bits - 2))], axis=2)
    done, data = cv2.imencode(kind, samples[:, :, ::-1])
    assert done
    decoded = decode_image_file(data.tobytes())
    assert np.abs(decoded.pixels - samples * 255.0 / (2**bits - 1)).max() <= 1
    assert bool(decoded.notes) == (bits < 16)


def test_12_bits_look_like_8(shared_cases: Path) -> None:
    eight, twelve = (decode_image(shared_cases / "model" / name) for name in ("a_8bit.png", "b_12bit_in_16.png"))
    assert np.abs(eight.astype(int) - twelve).max() <= 1


def test_whole_numbers_of_32_bits_and_floats_are_scaled_by_their_range() -> None:
    for samples in (ramp(10**6, np.int32), ramp(1, np.float32), ramp(10**9, np.float32), ramp(200, np.float32) - 100):
        pixels, notes = grey(samples)
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert (np.diff(pixels.ravel().astype(int)) >= 0).all()
        assert len(notes) == 1
    assert grey(np.linspace(0, 1, 2000).reshape(40, 50).astype(np.float32) / 2)[0].max() == 128
    assert grey(np.full((40, 50), 10**6, dtype=np.int32))[0].max() == 0


def test_samples_that_are_no_numbers() -> None:
    samples = ramp(1, np.float32)
    samples[0, 0], samples[0, 1] = np.nan, np.inf
    pixels, notes = grey(samples)
    assert (pixels[0, 0], pixels[0, 1]) == (0, 255)
    assert "no numbers" in notes[0]
    with pytest.raises(InputError, match="is a number"):
        grey(np.full((40, 50), np.nan, dtype=np.float32))
