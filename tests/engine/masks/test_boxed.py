"""Small regions inside the box beside those of the full mask."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine import rle
from engine.masks.boxed import clean_rle, decode_in_box
from engine.masks.regions import Mask, clean_mask


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def assert_cleaned_as_in_full(mask: Mask, min_area: int) -> None:
    expected = clean_mask(mask, min_area=min_area)
    cleaned = clean_rle(rle.encode(mask), box_of(mask), min_area=min_area)
    assert cleaned.mask == rle.encode(expected.mask)
    assert (cleaned.changed, cleaned.largest_area) == (expected.changed, expected.largest_area)
    assert cleaned.box == box_of(expected.mask)


def placed(part: Mask, left: int, top: int, right: int, bottom: int) -> Mask:
    return np.pad(part, ((top, bottom), (left, right)))


parts = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
margins = st.tuples(*[st.sampled_from([0, 0, 1, 2, 3, 7])] * 4)


@given(part=parts, margin=margins, min_area=st.integers(1, 60), inverted=st.booleans())
@example(part=np.array([[True, True, True]]), margin=(0, 3, 0, 5), min_area=10, inverted=False)  # from side to side
@example(part=np.ones((5, 5), dtype=bool), margin=(0, 0, 1, 0), min_area=6, inverted=False)  # outside is a small hole
def test_random_masks(part: Mask, margin: tuple[int, ...], min_area: int, inverted: bool) -> None:
    mask = placed(part, *margin)
    mask = ~mask if inverted else mask
    if mask.any():
        assert_cleaned_as_in_full(mask, min_area)


@given(
    holes=hnp.arrays(
        bool, st.tuples(st.integers(2, 12), st.integers(2, 12)), elements=st.sampled_from([True] * 7 + [False])
    ),
    margin=margins,
    min_area=st.integers(1, 40),
)
def test_nearly_full_masks_at_every_edge(holes: Mask, margin: tuple[int, ...], min_area: int) -> None:
    mask = placed(holes, *margin)
    if mask.any():
        assert_cleaned_as_in_full(mask, min_area)


@given(data=st.data(), shape=st.tuples(st.integers(1, 14), st.integers(1, 14)))
def test_pixels_in_the_box_are_those_of_the_mask(data: st.DataObject, shape: tuple[int, int]) -> None:
    mask = data.draw(hnp.arrays(bool, shape))
    if mask.any():
        x0, y0, x1, y1 = box_of(mask)
        np.testing.assert_array_equal(decode_in_box(rle.encode(mask), (x0, y0, x1, y1)), mask[y0 : y1 + 1, x0 : x1 + 1])


@pytest.mark.parametrize("corner", [(0, 0), (4000, 5000), (9960, 9970)])
def test_a_small_mask_of_a_large_picture_needs_little_memory(corner: tuple[int, int]) -> None:
    part = np.ones((30, 40), dtype=bool)
    part[10:12, 10:12] = False
    x0, y0 = corner
    mask = rle.encode_at(part, x0=x0, y0=y0, height=10_000, width=10_000)
    tracemalloc.start()
    cleaned = clean_rle(mask, (x0, y0, x0 + 39, y0 + 29), min_area=100)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert cleaned.changed
    assert rle.area(cleaned.mask) == 1200
