"""Counts of masks, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.release.report.properties import GRID, PER_PICTURE_ENDS, SIDES, MaskProperties, grid_side


def counted(boxes: list[tuple[float, ...]], areas: list[int], *, size: tuple[int, int] = (200, 100)) -> MaskProperties:
    found = MaskProperties("set")
    numbers = np.arange(len(areas))
    sizes = np.tile(np.array(size), (len(areas), 1))
    found.add_masks(np.array(boxes, dtype=float), np.array(areas), sizes, keys=numbers, items=numbers)
    return found


def test_a_centre_is_that_of_the_box_in_a_unit_square() -> None:
    found = counted([(0, 0, 20, 10), (0, 0, 200, 100), (190, 0, 200, 10)], [200, 20_000, 100])
    density = found.density(9)
    rows, columns = np.nonzero(density)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (0, 8), (4, 4)]
    np.testing.assert_allclose(density[density > 0], 81 / 3)
    assert found.corner_frac == pytest.approx(2 / 3)


def test_relative_size_is_the_root_of_the_share() -> None:
    found = counted([(0, 0, 10, 10)] * 4, [20_000, 5_000, 50, 2])
    shares = found.relative_sizes(10)
    np.testing.assert_allclose(np.flatnonzero(shares), [0, 5, 9])  # 0.05 and 0.01, 0.5, 1
    np.testing.assert_allclose(shares[[0, 5, 9]], [0.5, 0.25, 0.25])
    assert found.size_quantile(0.5) == pytest.approx(0.05, abs=0.001)
    assert found.size_quantile(0.75) == pytest.approx(0.5, abs=0.001)


def test_masks_per_picture() -> None:
    found = MaskProperties("set")
    found.add_pictures(np.array([0, 2, 3]))
    found.add_pictures(np.array([3, 500]))
    found.masks = 508
    np.testing.assert_allclose(found.per_picture(), [0.4, 0.4, 0, 0, 0, 0, 0, 0.2])
    assert (found.pictures, found.masks_per_picture, found.median_per_picture()) == (5, 101.6, 3.0)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_the_median_is_that_of_numpy(counts: list[int]) -> None:
    found = MaskProperties("set")
    found.add_pictures(np.array(counts))
    assert found.median_per_picture() == np.median(counts)
    assert found.per_picture().sum() == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 49), st.integers(1, 99), st.integers(1, 49)), min_size=1))
def test_density_and_sizes_are_shares_whatever_the_masks(corners: list[tuple[int, int, int, int]]) -> None:
    boxes = [(x, y, x + width, y + height) for x, y, width, height in corners]
    found = counted(boxes, [width * height for *_, width, height in corners])
    for side in SIDES:
        assert found.density(side).mean() == pytest.approx(1)
    assert found.relative_sizes(50).sum() == pytest.approx(1)
    assert 0 <= found.corner_frac <= 1


def test_nothing_counted_is_nothing_shown() -> None:
    found = MaskProperties("set")
    assert (found.masks_per_picture, found.corner_frac, found.median_per_picture()) == (0, 0, 0)
    assert not found.density(9).any()
    assert not found.per_picture().any()


def test_maps_of_few_masks_are_coarse() -> None:
    assert [grid_side(masks) for masks in (0, 10, 900, 10_000, 10**6)] == [9, 9, 15, 45, 135]
    assert all(GRID % side == 0 and side % 2 for side in SIDES)


def test_bins_of_masks_per_picture_unite_to_those_of_the_paper() -> None:
    assert {10, 50, 100, 200} <= set(PER_PICTURE_ENDS)
