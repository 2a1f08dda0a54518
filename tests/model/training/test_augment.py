from collections import Counter

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from model.training.augment import (
    _crop_window,
    _jitter_colour,
    _paste,
    _place,
    _small_mask,
    _start_around,
    _zoomed,
    augment,
)
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


def _each(*, count: int = 300) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def test_a_window_lies_anywhere_in_a_picture_and_everywhere_equally_often() -> None:
    windows = [_crop_window(7, 9, crop_px=4.4, rng=rng) for rng in _each(count=600)]
    assert {(bottom - top, right - left) for top, left, bottom, right in windows} == {(4, 4)}
    tops, lefts = Counter(window[0] for window in windows), Counter(window[1] for window in windows)
    assert (sorted(tops), sorted(lefts)) == ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5])
    assert min(tops.values()) > 110
    assert min(lefts.values()) > 70


def test_a_window_is_no_larger_than_the_picture_and_no_smaller_than_a_pixel() -> None:
    assert _crop_window(7, 9, crop_px=100, rng=np.random.default_rng(0)) == (0, 0, 7, 9)
    assert {_crop_window(7, 9, crop_px=8, rng=rng) for rng in _each()} == {(0, 0, 7, 8), (0, 1, 7, 9)}
    for top, left, bottom, right in (_crop_window(2, 3, crop_px=0.2, rng=rng) for rng in _each()):
        assert (bottom, right) == (top + 1, left + 1)


@pytest.mark.parametrize(
    ("first", "end", "length", "whole", "starts"),
    [
        (3, 5, 4, 10, {1, 2, 3}),
        (3, 7, 4, 10, {3}),
        (0, 2, 4, 10, {0}),
        (1, 2, 4, 10, {0, 1}),
        (8, 10, 4, 10, {6}),
        (7, 9, 4, 10, {5, 6}),
        (3, 5, 10, 10, {0}),
        (2, 9, 4, 10, {2}),  # longer than the window
    ],
)
def test_a_window_around_something_holds_all_of_it(
    first: int, end: int, length: int, whole: int, starts: set[int]
) -> None:
    assert {_start_around(first, end, length, whole, rng) for rng in _each(count=60)} == starts


def test_zoomed_views_show_a_mask_a_tenth_to_two_fifths_of_the_side_long() -> None:
    sample = _sample(np.zeros((300, 400, 3), np.uint8), _box(300, 400, 5, 5, 9, 9), _box(300, 400, 200, 100, 8, 12))
    views = [_zoomed(sample, 1, 64, at_least=0.16, rng=rng) for rng in _each()]
    scales = [scale for scale, _ in views]
    assert 0.1 * 64 / 12 <= min(scales) < 0.11 * 64 / 12
    assert 0.39 * 64 / 12 < max(scales) <= 0.4 * 64 / 12
    for scale, (top, left, bottom, right) in views:
        assert (bottom - top, right - left) == (round(64 / scale), round(64 / scale))
        assert 0 <= top <= 200 < 208 <= bottom <= 300
        assert 0 <= left <= 100 < 112 <= right <= 400


def test_zoomed_views_are_no_smaller_than_plain_ones_and_lie_anywhere_around_the_mask() -> None:
    sample = _sample(np.zeros((300, 400, 3), np.uint8), _box(300, 400, 200, 380, 8, 12))
    views = [_zoomed(sample, 0, 64, at_least=4.0, rng=rng) for rng in _each()]
    assert {scale for scale, _ in views} == {4.0}
    assert {top for _, (top, *_) in views} == set(range(192, 201))
    assert {left for _, (_, left, *_) in views} == set(range(376, 381))
    assert all((bottom, right) == (top + 16, left + 16) for _, (top, left, bottom, right) in views)
    flat = _sample(np.zeros((10, 400, 3), np.uint8), _box(10, 400, 2, 100, 4, 6))
    for scale, (top, left, bottom, right) in (_zoomed(flat, 0, 64, at_least=1.0, rng=rng) for rng in _each(count=20)):
        assert (top, bottom) == (0, 10), "all of a side that is shorter than the window"
        assert right - left == round(64 / scale)


def test_any_of_the_masks_under_a_hundredth_of_the_picture_is_small() -> None:
    """Counted in the full picture, of which the pixels may be a fraction."""
    masks = [
        _box(50, 200, 0, 0, 10, 10),
        _box(50, 200, 0, 0, 11, 9),
        _box(50, 200, 9, 9, 1, 1),
        _box(50, 200, 0, 0, 40, 9),
    ]
    sample = _sample(np.zeros((25, 100, 3), np.uint8), *masks)
    assert {_small_mask(sample, rng) for rng in _each(count=40)} == {1, 2}
    assert _small_mask(_sample(sample.image, masks[0], masks[3]), np.random.default_rng(0)) is None


NUMBERS = np.arange(1, 25, dtype=np.uint8).reshape(4, 6) * 10


def test_a_window_is_put_into_the_top_left_of_the_square() -> None:
    cut = NUMBERS[1:3, 2:5]
    plain = _place(NUMBERS, (1, 2, 3, 5), 1.0, 4, mirrored=False)
    assert np.array_equal(plain, np.pad(cut, ((0, 2), (0, 1))))
    mirrored = _place(NUMBERS, (1, 2, 3, 5), 1.0, 4, mirrored=True, fill=9)
    assert np.array_equal(mirrored, np.pad(cut[:, ::-1], ((0, 2), (0, 1)), constant_values=9))
    coloured = _place(
        np.dstack([NUMBERS, NUMBERS + 1, NUMBERS + 2]), (1, 2, 3, 5), 1.0, 4, mirrored=False, fill=(7, 8, 9)
    )
    for channel in range(3):
        expected = np.pad(cut + channel, ((0, 2), (0, 1)), constant_values=7 + channel)
        assert np.array_equal(coloured[..., channel], expected)


def test_smaller_views_are_means_of_pixels_and_larger_ones_lie_between_them() -> None:
    smaller = _place(NUMBERS, (0, 0, 4, 6), 0.5, 3, mirrored=False)
    assert smaller.tolist() == [[45, 65, 85], [165, 185, 205], [0, 0, 0]]
    larger = _place(NUMBERS, (0, 1, 2, 3), 2.0, 4, mirrored=False)
    assert np.array_equal(larger, cv2.resize(NUMBERS[0:2, 1:3], (4, 4), interpolation=cv2.INTER_LINEAR))


def test_a_window_of_a_picture_that_was_decoded_smaller_takes_in_all_pixels_that_it_touches() -> None:
    """The full picture is 8 x 18, of which every second row and every third column is there."""
    window = (1, 4, 6, 10)
    there = NUMBERS[0:3, 1:4]
    plain = _place(NUMBERS, window, 0.5, 4, mirrored=False, full_hw=(8, 18))
    assert np.array_equal(plain[:2, :3], cv2.resize(there, (3, 2), interpolation=cv2.INTER_LINEAR))
    assert not plain[2:].any()
    assert not plain[:, 3:].any()
    smaller = _place(NUMBERS, window, 0.4, 4, mirrored=False, full_hw=(8, 18))
    assert np.array_equal(smaller[:2, :2], cv2.resize(there, (2, 2), interpolation=cv2.INTER_AREA))


def test_a_view_has_a_pixel_at_least_and_no_more_than_the_square() -> None:
    thin = _place(NUMBERS, (0, 0, 1, 4), 0.25, 3, mirrored=False)
    assert thin.tolist() == [[25, 0, 0], [0, 0, 0], [0, 0, 0]]
    narrow = _place(NUMBERS, (0, 0, 4, 1), 0.25, 3, mirrored=False)
    assert narrow.tolist() == [[100, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert _place(NUMBERS, (1, 1, 2, 2), 50.0, 3, mirrored=False).tolist() == [[80] * 3] * 3


def test_pictures_are_mirrored_half_of_the_time_where_they_may_be() -> None:
    left = _box(64, 64, 8, 4, 10, 10)
    sample = _sample(_painted(left, 200, 50), left)
    mirrored = [bool(_augment(sample, seed=seed, flip=True)[1][0, :, 32:].any()) for seed in range(200)]
    assert 75 < sum(mirrored) < 125


def test_a_pixel_of_a_mask_is_set_where_more_than_half_of_it_is_covered() -> None:
    """Of 15 x 15 pixels each: 112 is a little less than half, 113 a little more."""
    mask = np.zeros((60, 60), dtype=np.uint8)
    for top, left, count in ((0, 0, 112), (15, 15, 113)):
        for number in range(count):
            mask[top + number // 15, left + number % 15] = 1
    _, (found,) = _augment(_sample(_painted(mask, 200, 50), mask), side_px=4)
    assert np.argwhere(found).tolist() == [[1, 1]]


def test_masks_no_larger_than_the_least_are_left_out() -> None:
    least, more = _box(64, 64, 0, 0, 4, 4), _box(64, 64, 20, 20, 17, 1)
    _, masks = _augment(_sample(_painted(least, 9, 9), least, more), min_mask_frac=16 / 64**2)
    assert [int(mask.sum()) for mask in masks] == [17]


@pytest.mark.parametrize(("most", "found"), [(1, 1), (3, 3), (4, 4), (8, 4)])
def test_masks_that_can_be_used_are_found_among_many_that_cannot(most: int, found: int) -> None:
    useless = [_box(64, 64, row, 0, 1, 2) for row in range(9)]
    usable = [_box(64, 64, 16 * row, 30, 5, 6 + row) for row in range(4)]
    sample = _sample(np.zeros((64, 64, 3), np.uint8), *useless, *usable)
    areas = [
        [int(mask.sum()) for mask in _augment(sample, seed=seed, max_masks=most, min_mask_frac=2 / 64**2)[1]]
        for seed in range(30)
    ]
    assert {len(each) for each in areas} == {found}
    assert all(len(set(each)) == len(each) for each in areas), "none comes twice"
    assert {each[0] for each in areas} == {30, 35, 40, 45}, "any of them first"


def test_a_mask_that_is_zoomed_in_on_comes_first_and_once() -> None:
    dots = [_box(300, 400, 100, 100 + 20 * number, 6, 6 + number) for number in range(5)]
    sample = _sample(_painted(dots[0], 255, 0), _box(300, 400, 0, 0, 90, 90), *dots)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rng.random()  # whether to zoom at all
        focus = _small_mask(sample, rng)
        assert focus is not None
        _, masks = _augment(sample, seed=seed, zoom_prob=1.0)
        wide = np.flatnonzero(masks[0].any(0))
        tall = np.flatnonzero(masks[0].any(1))
        assert len(wide) / len(tall) == pytest.approx((6 + focus - 1) / 6, rel=0.2)
        assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_what_lies_under_pasted_segments_keeps_half_of_its_pixels_or_goes() -> None:
    covered = _box(12, 12, 0, 6, 12, 6) > 0
    half, less, least, more = (
        _box(12, 12, *place) > 0 for place in ((0, 2, 3, 8), (4, 3, 3, 7), (8, 0, 2, 2), (8, 0, 1, 5))
    )
    masks = np.stack([half, less, least, more])
    dark, bright = np.zeros((12, 12, 3), np.uint8), np.full((12, 12, 3), 200, np.uint8)
    picture, left = _paste(dark, masks, bright, covered[None], smallest_px=4)
    assert np.array_equal(left, np.stack([covered, half & ~covered, more]))
    # A blur of 0.8 px: of its weights .499, .228, .022 and .0004 those count that lie on the segment.
    assert picture[6, :, 0].tolist() == [0, 0, 0, 0, 4, 50, 150, 196, 200, 200, 200, 200]
    assert np.array_equal(picture[..., 0], picture[..., 2])
    nothing = np.zeros((0, 12, 12), dtype=bool)
    untouched, same = _paste(dark, masks, bright, nothing, smallest_px=4)
    assert np.array_equal(untouched, dark)
    assert np.array_equal(same, masks)


@pytest.mark.parametrize(("most", "pasted", "visible"), [(8, 4, 2), (5, 4, 1), (2, 2, 0)])
def test_four_segments_are_pasted_at_most_and_come_before_the_pictures_own(
    most: int, pasted: int, visible: int
) -> None:
    own = [_box(64, 64, 40, 30 * number, 9, 9) for number in range(2)]
    segments = [_box(64, 64, 0, 10 * number, 5, 5) for number in range(6)]
    donor = _sample(_painted(segments[0], 250, 0), *segments)
    _, masks = _augment(_sample(_painted(own[0], 120, 60), *own), donor=donor, max_masks=most)
    assert [int(mask.sum()) for mask in masks] == [25] * pasted + [81] * visible


def test_segments_of_up_to_three_tenths_of_a_donor_are_pasted() -> None:
    below = _box(64, 64, 63, 60, 1, 4)
    for columns, expected in ((38, [1216, 4]), (39, [4])):
        donor = _sample(np.zeros((64, 64, 3), np.uint8), _box(64, 64, 0, 0, 32, columns))
        _, masks = _augment(_sample(_painted(below, 120, 60), below), donor=donor)
        assert [int(mask.sum()) for mask in masks] == expected


@pytest.mark.parametrize("seed", range(5))
def test_colours_change_in_brightness_contrast_and_saturation(seed: int) -> None:
    """Each in turn, in floating point: saturation about a pixel's grey, contrast about the mean, brightness about 0."""
    picture = np.random.default_rng(9).integers(60, 180, (6, 8, 3), dtype=np.uint8)
    brightness, contrast, saturation = np.random.default_rng(seed).uniform(0.6, 1.4, size=3)
    grey = picture.mean(2, keepdims=True)
    saturated = grey + saturation * (picture - grey)
    expected = brightness * (picture.mean() + contrast * (saturated - picture.mean()))
    found = _jitter_colour(picture, 0.4, np.random.default_rng(seed))
    # OpenCV counts bytes with ten bits behind the point.
    assert np.abs(found - expected.clip(0, 255)).max() < 0.5 + 3 * 255 / 2**11
