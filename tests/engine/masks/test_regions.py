import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.masks.regions import clean_mask, fill_holes
from tests.peers.torchvision_standin import install_torchvision_standin


def picture(*rows: str) -> np.ndarray:
    return np.array([[char == "#" for char in row] for row in rows])


RING_AND_SPECK = picture(
    "#####..",
    "#...#..",
    "#.#.#..",
    "#...#.#",
    "#####..",
)


def test_small_holes_are_filled_and_small_islands_go() -> None:
    # The hole has 8 pixels, the background right of the ring 9, the speck and the dot in the ring 1 each.
    cleaned = clean_mask(RING_AND_SPECK, min_area=9)
    expected = picture(*["#####.."] * 5)
    np.testing.assert_array_equal(cleaned.mask, expected)
    assert cleaned.changed
    assert cleaned.largest_area == 25


def test_regions_of_exactly_the_minimum_stay() -> None:
    cleaned = clean_mask(RING_AND_SPECK, min_area=8)
    expected = RING_AND_SPECK.copy()
    expected[2, 2] = expected[3, 6] = False
    np.testing.assert_array_equal(cleaned.mask, expected)
    assert cleaned.largest_area == 16


def test_nothing_small_means_unchanged() -> None:
    cleaned = clean_mask(RING_AND_SPECK, min_area=1)
    np.testing.assert_array_equal(cleaned.mask, RING_AND_SPECK)
    assert not cleaned.changed


def test_corners_connect_islands_and_holes() -> None:
    diagonal = picture("#...", ".#..", "..#.", "...#")
    assert clean_mask(diagonal, min_area=4).largest_area == 4
    # The background is two triangles of 6 pixels that touch across the diagonal: one region of 12.
    np.testing.assert_array_equal(fill_holes(diagonal, min_area=7)[0], diagonal)


def test_background_at_the_edge_counts_as_a_hole() -> None:
    filled, changed = fill_holes(picture("###", "##.", "###"), min_area=2)
    assert filled.all()
    assert changed


def test_where_everything_is_small_the_largest_stays() -> None:
    cleaned = clean_mask(picture("##....", "......", "..###.", "......"), min_area=5)
    np.testing.assert_array_equal(cleaned.mask, picture("......", "......", "..###.", "......"))
    assert cleaned.largest_area == 3


def test_a_lone_small_component_counts_as_changed_though_it_stays() -> None:
    mask = picture("......", ".##...", "......")
    cleaned = clean_mask(mask, min_area=5)
    np.testing.assert_array_equal(cleaned.mask, mask)
    assert cleaned.changed


def test_an_empty_mask_stays_empty() -> None:
    cleaned = clean_mask(np.zeros((20, 20), dtype=bool), min_area=100)
    assert not cleaned.mask.any()
    assert (cleaned.changed, cleaned.largest_area) == (False, 0)


@pytest.mark.parametrize("column_order", [False, True])
@given(
    mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)),
    min_area=st.integers(1, 30),
)
def test_same_regions_as_the_published_code(column_order: bool, mask: np.ndarray, min_area: int) -> None:
    install_torchvision_standin()
    from segment_anything.utils.amg import remove_small_regions

    mask = np.asfortranarray(mask) if column_order else mask  # decoded RLEs come column by column
    filled, had_holes = remove_small_regions(mask, min_area, mode="holes")
    expected, had_islands = remove_small_regions(filled, min_area, mode="islands")
    cleaned = clean_mask(mask, min_area=min_area)
    np.testing.assert_array_equal(cleaned.mask, expected)
    assert cleaned.changed == (had_holes or had_islands)
