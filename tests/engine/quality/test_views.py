"""The pictures for the gates: what is on them, where, and at which size."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine import rle
from engine.quality.views import ZOOM_SIDE_PX, exhaustivity_view, jpeg_bytes, verification_view, zoom_box
from schemas.errors import InputError
from tests.pictures import shapes

GREY = np.full((300, 400, 3), 100, dtype=np.uint8)


def box_mask(y0: int, y1: int, x0: int, x1: int, *, height: int = 300, width: int = 400) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


@st.composite
def boxes_in_pictures(draw: st.DrawFn) -> np.ndarray:
    height, width = draw(st.integers(16, 400)), draw(st.integers(16, 400))
    y0, x0 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    y1, x1 = draw(st.integers(y0 + 1, height)), draw(st.integers(x0 + 1, width))
    return box_mask(y0, y1, x0, x1, height=height, width=width)


@given(boxes_in_pictures())
def test_the_zoom_shows_the_whole_mask_with_what_is_around_it(mask: np.ndarray) -> None:
    x0, y0, x1, y1 = zoom_box(mask)
    height, width = mask.shape
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    assert x1 - x0 == width or y1 - y0 == height or x1 - x0 == y1 - y0
    assert x1 - x0 >= min(ZOOM_SIDE_PX, width)


def test_zoom_by_hand() -> None:
    # 100 x 40 px: half as much again as the longer side is 150, centred on (150, 120).
    assert zoom_box(box_mask(100, 140, 100, 200)) == (75, 45, 225, 195)
    # At the corner the part is moved into the picture, not cut.
    assert zoom_box(box_mask(0, 10, 390, 400)) == (336, 0, 400, 64)


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (64, 1200), (300, 1200), (1200, 64), (16, 16), (700, 700)])
def test_five_views_fit_the_browser_whatever_the_shape_of_the_picture(size: tuple[int, int]) -> None:
    height, width = size
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    view = verification_view(pixels, box_mask(2, 9, 3, 14, height=height, width=width))
    assert view.mode == "RGB"
    assert view.width == 1024
    assert view.height <= 1024
    whole = verification_view(pixels, np.ones((height, width), dtype=bool))
    assert (whole.width, whole.height <= 1024) == (1024, True)


def tiles_of(view: Image.Image) -> dict[str, np.ndarray]:
    """The views of a 400x300 picture, where the zoom is square: two rows of tiles, 16 px apart."""
    sheet = np.asarray(view)
    below = sheet.shape[0] - 16 - round(18 * 1.9) - 488
    return {
        "picture": sheet[56:296, 16:336],
        "overlay": sheet[56:296, 352:672],
        "alone": sheet[16:336, 688:1008],
        "zoom": sheet[below : below + 488, 16:504],
        "zoom overlay": sheet[below : below + 488, 520:1008],
    }


def test_what_each_view_shows() -> None:
    mask = box_mask(100, 200, 100, 200)
    tiles = tiles_of(verification_view(GREY, mask))
    grey = (tiles["zoom"] == 100).all(axis=-1)
    assert grey.all(), "the zoom shows the picture as it is"
    # The mask is 100 of the 150 px of the part that is enlarged.
    alone = tiles["alone"].max(axis=-1) > 128
    assert alone.mean() == pytest.approx((100 / 150) ** 2, abs=0.01)
    assert alone[160, 160]
    assert not alone[20, 20]
    changed = (tiles["zoom overlay"] != 100).any(axis=-1)
    assert changed.mean() == pytest.approx((100 / 150) ** 2, abs=0.03)
    assert changed[244, 244]
    assert not changed[30, 30]


def test_the_outline_leaves_the_inside_alone_and_the_overlay_fills_it() -> None:
    tiles = tiles_of(verification_view(GREY, box_mask(100, 200, 100, 200)))
    # 400 px become 320, so that the mask's middle is at 120 and its left border at 80.
    assert (tiles["picture"][120, 120] == 100).all()
    assert (tiles["overlay"][120, 120] != 100).any()
    for name in ("picture", "overlay"):
        border = (tiles[name][120, 78:83] != 100).any(axis=-1)
        assert border.sum() >= 2


def test_a_small_mask_in_a_large_picture_is_found_and_enlarged() -> None:
    pixels = np.full((1500, 2000, 3), 100, dtype=np.uint8)
    mask = box_mask(700, 704, 900, 904, height=1500, width=2000)
    tiles = tiles_of(verification_view(pixels, mask))
    # 64 px become 488: the mask's 4 px become 30.
    changed = (tiles["zoom overlay"] != 100).any(axis=-1)
    assert 28**2 <= changed.sum() <= 38**2
    assert (tiles["alone"].max(axis=-1) > 128).sum() == pytest.approx(20**2, rel=0.1)
    # A white frame in the whole picture shows where that is: 870..934, 670..734, at 0.16 of its size.
    white = np.argwhere((tiles["picture"] > 240).all(axis=-1))
    assert white.min(axis=0).tolist() == pytest.approx([670 * 0.16, 870 * 0.16], abs=2)
    assert white.max(axis=0).tolist() == pytest.approx([734 * 0.16, 934 * 0.16], abs=2)
    assert (tiles["overlay"] != 100).any(), "one pixel of it is left in the whole picture"


def test_a_strip_is_enlarged_over_the_whole_width() -> None:
    pixels = np.full((60, 1200, 3), 100, dtype=np.uint8)
    sheet = np.asarray(verification_view(pixels, box_mask(10, 50, 100, 1100, height=60, width=1200)))
    plain = (sheet == 100).all(axis=-1)
    assert plain.sum(axis=1).max() == 992


@pytest.mark.parametrize(
    "color", [(255, 0, 150), (0, 220, 255), (250, 210, 10), (70, 240, 60), (20, 20, 20), (250, 250, 250)]
)
def test_the_mask_stands_out_from_any_colour(color: tuple[int, int, int]) -> None:
    pixels = np.full((300, 400, 3), color, dtype=np.uint8)
    filled = tiles_of(verification_view(pixels, box_mask(100, 200, 100, 200)))["zoom overlay"][244, 244].astype(int)
    assert np.abs(filled - color).max() >= 60


def test_rle_and_array_give_one_picture_and_the_input_stays() -> None:
    pixels, masks = shapes(0, width=120, height=90)
    before = pixels.copy()
    assert jpeg_bytes(verification_view(pixels, masks[0])) == jpeg_bytes(
        verification_view(pixels, rle.encode(masks[0]))
    )
    assert jpeg_bytes(verification_view(pixels, masks[0])) != jpeg_bytes(verification_view(pixels, masks[1]))
    exhaustivity_view(pixels, masks)
    np.testing.assert_array_equal(pixels, before)


def test_masks_that_cannot_be_shown_are_refused() -> None:
    with pytest.raises(InputError, match="empty mask"):
        verification_view(GREY, np.zeros((300, 400), dtype=bool))
    for view in (lambda mask: verification_view(GREY, mask), lambda mask: exhaustivity_view(GREY, [mask])):
        with pytest.raises(InputError, match=r"\(10, 10\).*\(300, 400\)"):
            view(np.ones((10, 10), dtype=bool))


def test_what_has_no_mask_stays_as_it_is() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    masks = [box_mask(20, 100, 20, 100), box_mask(150, 250, 200, 380)]
    drawn = np.asarray(exhaustivity_view(pixels, masks))
    near = box_mask(18, 102, 18, 102) | box_mask(148, 252, 198, 382)
    np.testing.assert_array_equal(drawn[~near], pixels[~near])
    assert (drawn[masks[0] | masks[1]] != pixels[masks[0] | masks[1]]).any(axis=-1).mean() > 0.99


def test_masks_differ_in_colour_and_not_by_what_is_under_them() -> None:
    pixels = GREY.copy()
    pixels[:, :100] = (200, 60, 40)
    masks = [box_mask(10, 200, 10, 190), box_mask(10, 200, 210, 390)]
    drawn = np.asarray(exhaustivity_view(pixels, masks)).astype(int)
    assert np.abs(drawn[100, 150] - drawn[100, 300]).max() > 60
    red, grey = drawn[100, 50], drawn[100, 150]
    assert np.ptp(red - grey) <= 2, "only the brightness of what is under a mask is seen, not its colour"


@pytest.mark.parametrize(("size", "expected"), [((900, 1500), (614, 1024)), ((300, 400), (300, 400))])
def test_large_pictures_are_scaled_down_small_ones_are_not_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    pixels = np.full((*size, 3), 100, dtype=np.uint8)
    tiny = box_mask(50, 51, 60, 61, height=size[0], width=size[1])
    view = exhaustivity_view(pixels, [tiny, np.zeros(size, dtype=bool)])
    assert (view.height, view.width) == expected
    assert (np.asarray(view) != 100).any(), "a mask of one pixel is still seen"


def test_a_picture_without_masks_is_shown_as_it_is() -> None:
    np.testing.assert_array_equal(np.asarray(exhaustivity_view(GREY, [])), GREY)


def test_jpeg_reads_back_with_its_colours() -> None:
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[:, ::2] = (255, 0, 0)
    data = jpeg_bytes(Image.fromarray(pixels))
    assert data[:3] == b"\xff\xd8\xff"
    read = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert np.abs(read - pixels).mean() < 10


def test_points_are_crosses_in_the_first_view_alone() -> None:
    mask = box_mask(100, 200, 100, 250)
    plain, marked = (
        np.asarray(verification_view(GREY, mask, points_xy=points)).astype(int) for points in ((), ((150.0, 120.0),))
    )
    rows, columns, _ = np.nonzero(plain != marked)
    small = (1024 - 4 * 16) // 3
    left, top = 16 + 150.5 * small / 400, columns.min()
    assert abs((columns.min() + columns.max()) / 2 - left) <= 1
    assert rows.max() - rows.min() < 24
    assert columns.max() - top < 24
    assert (marked[rows.min() : rows.max(), columns.min() : columns.max()] == 255).all(axis=-1).any()
