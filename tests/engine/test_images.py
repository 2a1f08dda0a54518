import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, TiffImagePlugin

from engine.images import MIN_SIDE_PX, decode_image, decode_image_file, page_count, upright_size
from schemas.errors import InputError
from tests.pictures import encoded, shapes


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def message(data: bytes | Path, **options: float) -> str:
    with pytest.raises(InputError) as caught:
        decode_image(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PIXELS, _ = shapes(0)
HEIGHT, WIDTH = PIXELS.shape[:2]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_same_pixels(kind: str) -> None:
    np.testing.assert_array_equal(decode_image(encoded(PIXELS, kind)), PIXELS)


@pytest.mark.parametrize(("kind", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif")])
def test_the_extension_is_that_of_the_content(kind: str, extension: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.dat"
    path.write_bytes(encoded(PIXELS, kind))
    decoded = decode_image_file(path)
    assert (decoded.extension, decoded.pixels.shape) == (extension, PIXELS.shape)


def test_jpeg_is_what_pillow_decodes() -> None:
    data = encoded(PIXELS, "JPEG", quality=90)
    np.testing.assert_array_equal(decode_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_16_bit_grey_is_scaled_not_cut() -> None:
    samples = np.linspace(0, 65535, 40 * 50).astype(np.uint16).reshape(40, 50)
    decoded = decode_image(saved(Image.fromarray(samples), "PNG"))
    expected = np.rint(samples / 257).astype(np.uint8)
    np.testing.assert_array_equal(decoded, np.repeat(expected[:, :, None], 3, axis=2))


def test_grey_palette_bilevel_and_cmyk_become_rgb() -> None:
    picture = Image.fromarray(PIXELS)
    grey = decode_image(saved(picture.convert("L"), "PNG"))
    np.testing.assert_array_equal(grey, np.asarray(picture.convert("L").convert("RGB")))
    palette = picture.quantize(16)
    np.testing.assert_array_equal(decode_image(saved(palette, "PNG")), np.asarray(palette.convert("RGB")))
    bilevel = decode_image(saved(picture.convert("1"), "PNG"))
    assert set(np.unique(bilevel)) == {0, 255}
    cmyk = decode_image(saved(picture.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(cmyk.astype(int) - PIXELS).mean() < 6


def test_transparent_pixels_are_white_whatever_colour_hides_there() -> None:
    alpha = np.zeros((HEIGHT, WIDTH, 1), dtype=np.uint8)
    alpha[:, 10:] = 255
    decoded = decode_image(saved(Image.fromarray(np.concatenate([PIXELS, alpha], axis=2)), "PNG"))
    assert (decoded[:, :10] == 255).all()
    np.testing.assert_array_equal(decoded[:, 10:], PIXELS[:, 10:])
    palette = Image.fromarray(PIXELS).quantize(4)
    hidden = int(np.asarray(palette)[0, 0])
    decoded = decode_image(saved(palette, "PNG", transparency=hidden))
    assert (decoded[np.asarray(palette) == hidden] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """EXIF 2.3, tag 0x0112: which corner of the scene the first stored pixel shows."""
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, k=-1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, k=1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(saved(Image.fromarray(PIXELS), "PNG", exif=exif.tobytes()))
    np.testing.assert_array_equal(decoded, turns[orientation](PIXELS))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_a_file_that_is_cut_off_is_rejected(kind: str, kept: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, size=(120, 160, 3), dtype=np.uint8)
    options = {"progressive": True} if kind == "JPEG" and kept == 0.7 else {}
    data = encoded(noise, kind, **options)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(len(data) * kept)])
    assert message(path).startswith(f"{path}: ")


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    empty, text, gone = (tmp_path / name for name in ("empty.jpg", "text.jpg", "gone.jpg"))
    empty.write_bytes(b"")
    text.write_text("this is not a picture\n" * 100)
    assert message(empty) == f"{empty}: the file is empty"
    assert message(text).startswith(f"{text}: not a picture in a format that can be read (JPEG, ")
    assert message(gone) == f"{gone}: cannot read the file: No such file or directory"
    assert "Is a directory" in message(tmp_path)


def test_a_program_that_draws_is_not_run() -> None:
    """Encapsulated PostScript would be handed to an interpreter."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n"
    assert "not a picture" in message(eps)


def test_too_small_and_too_large_are_named_with_their_size() -> None:
    assert "1x1 px; a picture needs at least 16 px" in message(encoded(PIXELS[:1, :1]))
    assert decode_image(encoded(PIXELS[:MIN_SIDE_PX, :MIN_SIDE_PX])).shape == (MIN_SIDE_PX, MIN_SIDE_PX, 3)
    assert "96x64 px is more than images.max_megapixels = 0.001" in message(encoded(PIXELS), max_megapixels=0.001)


def test_a_panorama_of_20000_px_is_fine() -> None:
    wide = np.zeros((300, 20_000, 3), dtype=np.uint8)
    wide[:, ::100] = 255
    np.testing.assert_array_equal(decode_image(encoded(wide)), wide)


def test_a_small_file_that_claims_a_huge_picture_is_not_unpacked() -> None:
    """A PNG header of 100,000 x 100,000 px would need 30 GB."""
    data = bytearray(encoded(PIXELS))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert "100000x100000 px is more than images.max_megapixels = 500" in message(bytes(data))


@pytest.mark.parametrize(("kind", "extension"), [("HEIF", "heic"), ("AVIF", "avif")])
def test_photos_of_phones_are_read(kind: str, extension: str) -> None:
    smooth = np.asarray(Image.fromarray(PIXELS).filter(ImageFilter.GaussianBlur(6)))
    decoded = decode_image_file(encoded(smooth, kind, quality=95))
    assert (decoded.extension, decoded.pixels.shape, decoded.pages) == (extension, PIXELS.shape, 1)
    assert np.abs(decoded.pixels.astype(int) - smooth).mean() < 3


@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG", "WEBP", "HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_upright_size_is_told_by_the_header(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "picture"
    # Given bytes, the writer of HEIF turns by a box of its own, as phones do.
    path.write_bytes(saved(Image.fromarray(PIXELS), kind, exif=exif.tobytes() if kind == "HEIF" else exif))
    decoded = decode_image_file(path)
    assert upright_size(path) == decoded.full_hw == decoded.pixels.shape[:2]
    assert decoded.full_hw == ((WIDTH, HEIGHT) if orientation in (6, 8) else (HEIGHT, WIDTH))


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "MPO", "WEBP", "PNG", "AVIF"])
def test_further_pages_are_counted(kind: str) -> None:
    pages = [Image.fromarray(shapes(seed)[0]) for seed in range(3)]
    data = saved(pages[0], kind, save_all=True, append_images=pages[1:])
    decoded = decode_image_file(data)
    assert (decoded.pages, page_count(data)) == (3, 3)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_raw_files_of_cameras_are_no_tiff() -> None:
    """A DNG holds a small preview, which a reader of TIFF takes for the picture."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50706] = bytes([1, 4, 0, 0])
    assert "raw file" in message(saved(Image.fromarray(PIXELS), "TIFF", tiffinfo=tags))


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]), where=st.floats(0, 1), bits=st.integers(1, 255))
def test_a_broken_byte_gives_a_picture_or_one_line(kind: str, where: float, bits: int) -> None:
    data = bytearray(encoded(PIXELS, kind))
    data[int(where * (len(data) - 1))] ^= bits
    said = ""
    try:
        decoded = decode_image(bytes(data), max_megapixels=1)
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 3
        assert decoded.shape[2] == 3
    except InputError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("longest_px", "expected"), [(None, 640), (640, 640), (400, 640), (320, 320), (170, 320), (80, 80)]
)
def test_a_jpeg_is_decoded_at_a_fraction_where_that_is_enough(longest_px: int | None, expected: int) -> None:
    smooth = np.kron(PIXELS[:15, :20].astype(np.float32), np.ones((24, 32, 1), np.float32))
    picture = Image.fromarray(smooth.astype(np.uint8)).filter(ImageFilter.GaussianBlur(4))
    data = saved(picture, "JPEG", quality=95)
    decoded = decode_image_file(data, longest_px=longest_px)
    assert decoded.full_hw == (360, 640)
    assert max(decoded.pixels.shape) == expected
    wanted = picture.resize((decoded.pixels.shape[1], decoded.pixels.shape[0]), Image.Resampling.BOX)
    assert np.abs(np.asarray(wanted).astype(int) - decoded.pixels).mean() < 3


def test_a_turned_jpeg_says_its_full_size_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(np.zeros((200, 400, 3), np.uint8)), "JPEG", exif=exif.tobytes())
    decoded = decode_image_file(data, longest_px=200)
    assert decoded.full_hw == (400, 200)
    assert decoded.pixels.shape == (200, 100, 3)


def test_formats_without_fractions_are_decoded_whole() -> None:
    decoded = decode_image_file(saved(Image.fromarray(np.zeros((200, 400, 3), np.uint8)), "PNG"), longest_px=50)
    assert decoded.pixels.shape == (200, 400, 3)
