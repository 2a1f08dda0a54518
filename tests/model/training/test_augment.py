import numpy as np
import pytest
from pycocotools import mask as coco_mask

from model.training.augment import augment
from model.training.samples import Sample

PLAIN = {
    "side_px": 64,
    "max_masks": 8,
    "scale_range": (1.0, 1.0),
    "flip": False,
    "colour_jitter": 0.0,
    "min_mask_frac": 0.0,
    "max_mask_frac": 0.95,
}


def _box(height: int, width: int, top: int, left: int, rows: int, columns: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[top : top + rows, left : left + columns] = 1
    return mask


def _sample(image: np.ndarray, *masks: np.ndarray) -> Sample:
    return Sample(image, [coco_mask.encode(np.asfortranarray(mask)) for mask in masks])


def _painted(mask: np.ndarray, inside: int, outside: int) -> np.ndarray:
    return np.where(mask[..., None] > 0, np.uint8(inside), np.uint8(outside)).repeat(3, axis=2)


def _augment(sample: Sample, *, seed: int = 0, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    found = augment(sample, rng=np.random.default_rng(seed), **(PLAIN | changes))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_a_picture_is_padded_with_the_colour_it_is_told_like_the_predictor_pads_it() -> None:
    mask = _box(32, 64, 4, 4, 8, 8)
    picture, masks = _augment(_sample(_painted(mask, 200, 10), mask), pad_rgb=(1, 2, 3), colour_jitter=0.5)
    assert (picture[32:] == (1, 2, 3)).all()
    assert not masks[:, 32:].any()


@pytest.mark.parametrize("seed", range(6))
def test_masks_stay_on_what_they_cover_under_scale_crop_and_flip(seed: int) -> None:
    mask = _box(80, 120, 20, 30, 40, 50)
    sample = _sample(_painted(mask, 255, 0), mask)
    picture, masks = _augment(sample, seed=seed, scale_range=(0.5, 2.0), flip=True)
    assert np.array_equal(picture[..., 0] > 127, masks[0])


@pytest.mark.parametrize("seed", range(6))
def test_a_picture_decoded_at_half_its_size_gives_the_same_view(seed: int) -> None:
    mask = _box(200, 300, 40, 60, 80, 100)
    image = _painted(mask, 200, 50)
    whole = _augment(_sample(image, mask), scale_range=(0.5, 1.5), flip=True, seed=seed)
    half = _augment(_sample(image[::2, ::2], mask), scale_range=(0.5, 1.5), flip=True, seed=seed)
    assert np.array_equal(whole[1], half[1])
    differs = np.abs(whole[0].astype(int) - half[0]).max(2) > 20
    assert differs.mean() < 0.03  # only pixels on the border of the box


@pytest.mark.parametrize("seed", range(4))
def test_pasted_segments_carry_their_pixels_and_cover_what_lies_below(seed: int) -> None:
    below, above = _box(64, 64, 8, 8, 40, 40), _box(64, 64, 30, 30, 20, 20)
    donor = _sample(_painted(above, 250, 0), above)
    picture, masks = _augment(_sample(_painted(below, 120, 60), below), donor=donor, seed=seed)
    pasted, visible = masks
    assert np.array_equal(pasted, above > 0)
    assert np.array_equal(visible, (below > 0) & ~(above > 0))
    assert (picture[33:47, 33:47] == 250).all(), "inside, clear of the softened border"
    assert (picture[10:25, 10:25] == 120).all()


def test_a_mask_mostly_covered_by_a_pasted_segment_is_left_out() -> None:
    below, above = _box(64, 64, 32, 32, 10, 10), _box(64, 64, 30, 30, 20, 20)
    donor = _sample(_painted(above, 250, 0), above)
    _, masks = _augment(_sample(_painted(below, 120, 60), below), donor=donor)
    assert len(masks) == 1
    assert masks[0].sum() == 400


def test_a_large_segment_is_not_pasted() -> None:
    below, above = _box(64, 64, 8, 8, 10, 10), _box(64, 64, 0, 0, 64, 32)
    donor = _sample(_painted(above, 250, 0), above)
    picture, masks = _augment(_sample(_painted(below, 120, 60), below), donor=donor)
    assert len(masks) == 1
    assert picture.max() == 120


def test_colour_changes_by_no_more_than_it_may() -> None:
    mask = _box(64, 64, 8, 8, 10, 10)
    grey = np.full((64, 64, 3), 100, dtype=np.uint8)
    levels = [_augment(_sample(grey, mask), colour_jitter=0.3, seed=seed)[0] for seed in range(30)]
    means = [float(level.mean()) for level in levels]
    assert all(len(np.unique(level)) == 1 for level in levels), "one flat grey stays one"
    assert 69 <= min(means) < 85
    assert 115 < max(means) <= 131


@pytest.mark.parametrize("seed", range(8))
def test_a_zoomed_view_holds_a_whole_small_mask_at_the_size_that_was_drawn(seed: int) -> None:
    """A picture of 400 x 300, shown at a sixth of its size: there a dot of 12 x 8 px would be two pixels."""
    dot, large = _box(300, 400, 200, 380, 8, 12), _box(300, 400, 10, 10, 150, 200)
    sample = _sample(_painted(dot, 255, 0), large, dot)
    picture, masks = _augment(sample, seed=seed, zoom_prob=1.0, min_mask_frac=4e-3, flip=True)
    focus = masks[0]
    rows, columns = np.flatnonzero(focus.any(1)), np.flatnonzero(focus.any(0))
    # A tenth to two fifths of 64 px, and never more than four times its 12 px.
    assert 6 <= len(columns) <= 26
    assert len(rows) == pytest.approx(len(columns) * 8 / 12, abs=1.5)
    assert np.logical_xor(picture[..., 0] > 127, focus).sum() <= 0.1 * focus.sum() + 2


def test_a_picture_may_have_more_masks_than_eight_bits_count() -> None:
    dots = [_box(300, 400, 10 * row, 10 * column, 4, 4) for row in range(20) for column in range(15)]
    found = _augment(_sample(_painted(dots[0], 255, 0), *dots), zoom_prob=1.0, min_mask_frac=4e-3)
    assert found is not None
    assert len(found[1])


def test_a_picture_without_small_masks_is_not_zoomed() -> None:
    large = _box(64, 64, 8, 8, 30, 30)
    sample = _sample(_painted(large, 200, 50), large)
    zoomed, plain = (_augment(sample, zoom_prob=prob) for prob in (1.0, 0.0))
    assert np.array_equal(zoomed[0], plain[0])


def test_no_usable_mask_gives_none() -> None:
    mask = _box(64, 64, 0, 0, 64, 64)
    assert augment(_sample(_painted(mask, 9, 9), mask), rng=np.random.default_rng(0), **PLAIN) is None  # type: ignore[arg-type]


def test_a_thin_picture_keeps_one_pixel() -> None:
    mask = _box(2, 200, 0, 0, 2, 150)
    picture, masks = _augment(_sample(_painted(mask, 200, 100), mask), side_px=20)
    assert (picture[0] > 0).all()
    assert not picture[1:].any(), "padding"
    assert masks[0, 0, :14].all()
    assert not masks[:, 1:].any()


@pytest.mark.parametrize("hw", [(32, 64), (64, 32)])
def test_masks_larger_than_a_share_of_the_picture_are_left_out(hw: tuple[int, int]) -> None:
    most, more = _box(*hw, 0, 0, hw[0], hw[1] - 4), _box(*hw, 0, 0, hw[0], hw[1] - 3)
    sample = _sample(_painted(most, 200, 50), most, more)
    found = _augment(sample, max_mask_frac=most.mean())[1]
    assert [int(mask.sum()) for mask in found] == [int(most.sum())]


@pytest.mark.parametrize("seed", range(3))
def test_tiny_masks_are_enlarged_four_times_at_most(seed: int) -> None:
    dot = _box(300, 400, 200, 300, 2, 3)
    _, masks = _augment(_sample(_painted(dot, 255, 0), dot), seed=seed, side_px=512, zoom_prob=1.0)
    rows, columns = np.flatnonzero(masks[0].any(1)), np.flatnonzero(masks[0].any(0))
    assert (len(rows), len(columns)) == (8, 12)
