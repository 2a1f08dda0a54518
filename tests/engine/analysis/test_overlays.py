"""Overlays: what is covered, what lies on top, and what a sheet looks like."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import rle
from engine.analysis.overlays import contact_sheet, distinct_colors, draw_masks, save_png
from schemas.errors import InputError

GREY = np.full((60, 80, 3), 100, dtype=np.uint8)


def box_mask(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    mask = np.zeros(GREY.shape[:2], dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_pixels_outside_all_masks_stay_as_they_are() -> None:
    mask = box_mask(10, 30, 10, 40)
    drawn = draw_masks(GREY, [mask])
    # An anti-aliased line may touch the pixels next to the border, nothing further out.
    near = box_mask(8, 32, 8, 42)
    assert (drawn[~near] == 100).all()
    assert (drawn[mask] != 100).any(axis=-1).all()
    assert (GREY == 100).all()


def test_fill_is_the_halfway_mix_of_image_and_colour() -> None:
    drawn = draw_masks(GREY, [box_mask(10, 50, 10, 70)], opacity=0.5)
    color = distinct_colors(1)[0].astype(float)
    np.testing.assert_allclose(drawn[30, 40], (100 + color) / 2, atol=1)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_small_mask_lies_over_large_one_whatever_their_order(order: list[int]) -> None:
    masks = [box_mask(5, 55, 5, 75), box_mask(20, 40, 30, 50)]
    drawn = draw_masks(GREY, [masks[i] for i in order])
    colors = distinct_colors(2).astype(float)
    np.testing.assert_allclose(drawn[10, 15], (100 + colors[0]) / 2, atol=1)
    np.testing.assert_allclose(drawn[30, 40], (100 + colors[1]) / 2, atol=1)


def test_rle_and_array_of_one_mask_look_the_same() -> None:
    masks = [box_mask(0, 60, 0, 20), box_mask(12, 13, 70, 71)]
    np.testing.assert_array_equal(draw_masks(GREY, masks), draw_masks(GREY, [rle.encode(mask) for mask in masks]))


def test_hole_is_outlined_and_not_filled() -> None:
    ring = box_mask(5, 55, 5, 75) & ~box_mask(20, 40, 20, 60)
    drawn = draw_masks(GREY, [ring])
    assert (drawn[30, 40] == 100).all()
    filled_color, border_color = drawn[12, 40].astype(int), drawn[19, 40].astype(int)
    assert border_color.sum() > filled_color.sum()


def test_empty_mask_and_no_mask_change_nothing() -> None:
    np.testing.assert_array_equal(draw_masks(GREY, [np.zeros(GREY.shape[:2], dtype=bool)]), GREY)
    np.testing.assert_array_equal(draw_masks(GREY, []), GREY)


def test_seed_changes_colours_and_repeats() -> None:
    masks = [box_mask(10, 50, 10, 70)]
    np.testing.assert_array_equal(draw_masks(GREY, masks, seed=3), draw_masks(GREY, masks, seed=3))
    assert (draw_masks(GREY, masks, seed=3) != draw_masks(GREY, masks, seed=4)).any()


def test_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(10, 10\).*\(60, 80\)"):
        draw_masks(GREY, [np.ones((10, 10), dtype=bool)])


def test_colours_of_many_masks_differ() -> None:
    colors = distinct_colors(60).astype(int)
    gaps = np.abs(colors[:, None] - colors[None]).sum(axis=-1)
    assert gaps[~np.eye(60, dtype=bool)].min() >= 15
    followers = np.abs(np.diff(colors, axis=0)).sum(axis=-1)
    assert followers.min() >= 150


def test_sheet_holds_every_tile_at_its_place() -> None:
    red, blue = GREY.copy(), np.zeros((90, 30, 3), dtype=np.uint8)
    red[:] = (255, 0, 0)
    blue[:] = (0, 0, 255)
    sheet = contact_sheet([(red, "red"), (blue, "blue"), (red, "again")], 2, tile_px=120, gap_px=10)
    assert sheet.shape[1] == 2 * 120 + 3 * 10
    is_red = (sheet == (255, 0, 0)).all(axis=-1)
    is_blue = (sheet == (0, 0, 255)).all(axis=-1)
    assert is_red.sum() == 2 * 120 * 90
    assert is_blue.sum() == 120 * 40
    assert is_red[:, :140].sum() == 2 * is_red[:120].sum() == is_red.sum()
    assert not is_blue[:, :140].any()


def test_sheet_has_a_title_under_each_tile() -> None:
    titled = contact_sheet([(GREY, "a title")], 1, tile_px=200)
    untitled = contact_sheet([(GREY, "")], 1, tile_px=200)
    rows = np.flatnonzero((titled != untitled).any(axis=(1, 2)))
    assert titled.shape == untitled.shape
    assert rows[0] >= 16 + 150


def test_long_title_stays_within_its_tile() -> None:
    sheet = contact_sheet([(GREY, "photograph " * 40), (GREY, "")], 2, tile_px=200, gap_px=16)
    blank = contact_sheet([(GREY, ""), (GREY, "")], 2, tile_px=200, gap_px=16)
    columns = np.flatnonzero((sheet != blank).any(axis=(0, 2)))
    assert columns[0] >= 16
    assert columns[-1] < 16 + 200


@pytest.mark.parametrize(("tiles", "columns"), [([], 3), ([(GREY, "one")], 0)])
def test_sheet_without_content_is_refused(tiles: list[tuple[np.ndarray, str]], columns: int) -> None:
    with pytest.raises(InputError, match="tiles and columns"):
        contact_sheet(tiles, columns)


def test_saved_png_reads_back_and_leaves_no_other_file(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (17, 23, 3), dtype=np.uint8)
    path = tmp_path / "new folder" / "sheet.png"
    save_png(image, path)
    save_png(image, path)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]


def test_picture_that_cannot_be_saved_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_png(np.zeros((4, 4, 7), dtype=np.uint8), tmp_path / "odd.png")
    assert not list(tmp_path.iterdir())
