"""Pixels and sizes of masks, worked out by hand."""

import pytest
import torch

from model.training.regions import coverage, resize_masks, uniform_points

REGION = [
    "..#.",
    ".#.#",
    "#...",
]
PIXELS = [[2, 0], [1, 1], [3, 1], [0, 2]]  # (x, y), row by row


def _masks(*pictures: list[str]) -> torch.Tensor:
    return torch.tensor([[[cell == "#" for cell in row] for row in rows] for rows in pictures])


@pytest.mark.parametrize(
    ("uniform", "number"), [(0.0, 0), (0.2499, 0), (0.25, 1), (0.4999, 1), (0.5, 2), (0.75, 3), (1 - 2**-24, 3)]
)
def test_each_pixel_of_a_region_has_an_equal_part_of_the_numbers(uniform: float, number: int) -> None:
    assert uniform_points(_masks(REGION), uniform=torch.tensor([uniform])).tolist() == [PIXELS[number]]


def test_regions_do_not_count_in_one_another() -> None:
    last = ["....", "....", "...#"]
    points = uniform_points(_masks(last, REGION, last), uniform=torch.tensor([0.0, 0.6, 0.9]))
    assert points.tolist() == [[3, 2], [3, 1], [3, 2]]
    assert points.dtype == torch.float32


def test_the_largest_number_below_one_is_the_last_pixel_of_regions_of_all_sizes() -> None:
    rows = torch.arange(600)[None] <= torch.arange(600)[:, None]  # 1, 2, ... 600 pixels
    points = uniform_points(rows[:, None], uniform=torch.full((600,), 1 - 2**-24))
    assert points[:, 0].tolist() == list(range(600))
    assert not points[:, 1].any()


def test_masks_at_a_smaller_size_are_set_where_half_of_a_pixel_is_covered() -> None:
    mask = _masks(["##.#", "##..", "##.#", "..#."])
    assert coverage(mask, (2, 2)).tolist() == [[[1.0, 0.25], [0.5, 0.5]]]
    assert resize_masks(mask, (2, 2)).tolist() == [[[True, False], [True, True]]]
    assert coverage(mask, (1, 2)).tolist() == [[[0.75, 0.375]]]
    assert resize_masks(mask, (1, 2)).tolist() == [[[True, False]]]


def test_masks_at_a_larger_size_are_repeated() -> None:
    expected = _masks(["##..", "##..", "..##", "..##"])
    assert torch.equal(resize_masks(_masks(["#.", ".#"]), (4, 4)), expected)
