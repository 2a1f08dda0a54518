from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine import rle
from engine.masks.nesting import parents
from model.geometry import mask_boxes
from schemas.errors import InputError

SIZE = (9, 7)
coordinates = st.tuples(
    st.integers(0, SIZE[0]), st.integers(0, SIZE[0]), st.integers(0, SIZE[1]), st.integers(0, SIZE[1])
)


def rectangle(corners: tuple[int, int, int, int]) -> np.ndarray:
    """Rows and columns between two edges, given in any order."""
    (y0, y1), (x0, x1) = sorted(corners[:2]), sorted(corners[2:])
    mask = np.zeros(SIZE, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


masks_of_one_picture = st.lists(coordinates.map(rectangle) | hnp.arrays(bool, SIZE), max_size=9)
shares = st.sampled_from([0.1, 0.5, 0.75, 0.95, 1.0])


def parents_of(masks: Sequence[np.ndarray], containment: float = 0.95) -> list[int | None]:
    stacked = np.stack(masks) if len(masks) else np.zeros((0, *SIZE), dtype=bool)
    return parents([rle.encode(mask) for mask in masks], mask_boxes(torch.as_tensor(stacked)), containment=containment)


def naive_parents(masks: Sequence[np.ndarray], containment: float) -> list[int | None]:
    """By the definition, all pairs of pictures."""
    found: list[int | None] = []
    for child in masks:
        containing = [
            (other.sum(), index)
            for index, other in enumerate(masks)
            if child.any() and other.sum() > child.sum() and (child & other).sum() / child.sum() >= containment
        ]
        found.append(min(containing)[1] if containing else None)
    return found


@given(masks_of_one_picture, shares)
def test_same_parents_as_the_definition(masks: list[np.ndarray], containment: float) -> None:
    assert parents_of(masks, containment) == naive_parents(masks, containment)


@given(masks_of_one_picture, shares)
def test_there_are_no_cycles(masks: list[np.ndarray], containment: float) -> None:
    found = parents_of(masks, containment)
    for start in range(len(masks)):
        index: int | None = start
        for _ in range(len(masks)):
            index = None if index is None else found[index]
        assert index is None


@given(masks_of_one_picture, st.randoms())
def test_the_area_of_the_parent_does_not_depend_on_the_order(masks: list[np.ndarray], random: Random) -> None:
    order = list(range(len(masks)))
    random.shuffle(order)

    def parent_areas(given: list[np.ndarray]) -> list[int]:
        return [0 if parent is None else int(given[parent].sum()) for parent in parents_of(given)]

    areas = parent_areas(masks)
    assert parent_areas([masks[index] for index in order]) == [areas[index] for index in order]


def test_nested_squares_by_hand() -> None:
    whole, inner, core = rectangle((0, 9, 0, 7)), rectangle((1, 6, 1, 6)), rectangle((2, 4, 2, 4))
    beside = rectangle((7, 9, 0, 2))
    assert parents_of([core, whole, beside, inner]) == [3, None, 1, 1]
    assert parents_of([core, inner, beside]) == [1, None, None]


def test_the_share_that_must_lie_inside() -> None:
    """Of 8 pixels in a column 6 lie inside the larger mask."""
    column, block = rectangle((0, 8, 0, 1)), rectangle((0, 6, 0, 7))
    assert parents_of([column, block], 0.75) == [1, None]
    assert parents_of([column, block], 0.76) == [None, None]


def test_of_equally_small_parents_the_first() -> None:
    child, left, right = rectangle((3, 5, 2, 4)), rectangle((2, 6, 0, 4)), rectangle((2, 6, 2, 6))
    assert parents_of([child, left, right]) == [1, None, None]
    assert parents_of([right, left, child]) == [None, None, 0]


def test_equal_masks_and_empty_ones_have_no_parent() -> None:
    block, empty = rectangle((0, 4, 0, 4)), rectangle((0, 0, 0, 0))
    assert parents_of([block, block, empty]) == [None, None, None]
    assert parents_of([]) == []


@pytest.mark.parametrize("containment", [0.0, -0.5, 1.01])
def test_a_share_out_of_range_is_an_error(containment: float) -> None:
    with pytest.raises(ValueError, match=f"containment must be above 0 and at most 1, found {containment}"):
        parents_of([], containment)


def test_masks_of_several_sizes_are_an_error() -> None:
    masks = [rle.encode(np.ones(size, dtype=bool)) for size in ((2, 3), (3, 2))]
    with pytest.raises(InputError, match="one size"):
        parents(masks, torch.zeros((2, 4), dtype=torch.int64))
