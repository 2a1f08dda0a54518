from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.quality.sampling import RELATIVE_SIZE_EDGES, allocate, sample_images, sample_masks, sample_size

ROUND = {"seed": 3, "stage": "semi_automatic", "round": 2}


def masks_table(areas: dict[int, int], *, side: int = 100) -> pa.Table:
    """Masks (id -> area) of square images."""
    rows = len(areas)
    return pa.table(
        {"mask_id": list(areas), "area": list(areas.values()), "height": [side] * rows, "width": [side] * rows}
    )


@pytest.mark.parametrize(
    ("total", "frac", "expected"), [(100, 0.05, 5), (9, 0.05, 1), (50, 0.05, 3), (7, 1.0, 7), (0, 0.5, 0), (50, 0, 0)]
)
def test_size_of_a_sample(total: int, frac: float, expected: int) -> None:
    assert sample_size(total, frac) == expected


def test_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        sample_size(10, 1.5)


def test_allocation_by_hand() -> None:
    # 10 of 100: shares 7.0, 2.9, 0.1; floors 7, 2, 0, the largest remainder gets the last, and then the third stratum,
    # which would be forgotten, takes one from the first.
    assert allocate(np.array([70, 29, 1]), 10).tolist() == [6, 3, 1]
    assert allocate(np.array([70, 29, 1]), 2).tolist() == [1, 1, 0]
    assert allocate(np.array([5, 5, 0, 1]), 3).tolist() == [1, 1, 0, 1]
    assert allocate(np.array([5, 0, 5]), 20).tolist() == [5, 0, 5]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=7), st.integers(0, 200))
def test_allocation_is_proportional_and_forgets_no_stratum(counts: list[int], size: int) -> None:
    given_counts = np.array(counts)
    found = allocate(given_counts, size)
    total = sum(counts)
    assert found.sum() == min(size, total)
    assert (found >= 0).all()
    assert (found <= given_counts).all()
    filled = given_counts > 0
    if size >= filled.sum():
        assert (found[filled] >= 1).all()
    if total and (given_counts[filled] * size >= total).all():
        # Nobody would be forgotten, so that each is within one of its exact share.
        assert (np.abs(found - given_counts * min(size, total) / total) < 1).all()


@given(st.permutations(range(60)), st.integers(0, 20))
def test_sample_does_not_depend_on_the_order_of_rows(order: list[int], seed: int) -> None:
    areas = {1000 + number: (number % 7) * 800 + 1 for number in range(60)}
    shuffled = {1000 + number: areas[1000 + number] for number in order}
    where = ROUND | {"seed": seed}
    assert sample_masks(masks_table(areas), frac=0.2, **where) == sample_masks(masks_table(shuffled), frac=0.2, **where)


def test_seed_stage_and_round_each_give_another_sample() -> None:
    table = masks_table(dict.fromkeys(range(400), 400))
    others = [{}, {"seed": 4}, {"stage": "assisted_manual"}, {"round": 3}]
    samples = [tuple(sample_masks(table, frac=0.1, **ROUND | other)) for other in others]
    assert len(set(samples)) == len(samples)
    assert all(len(set(sample)) == 40 for sample in samples)


def test_small_masks_are_not_forgotten() -> None:
    # 2 of 200 masks are small: 4 draws at random would miss them nearly always.
    areas = dict.fromkeys(range(198), 4000) | {198: 4, 199: 5}
    for seed in range(10):
        assert set(sample_masks(masks_table(areas), frac=0.02, **ROUND | {"seed": seed})) & {198, 199}


def test_bins_are_drawn_from_in_proportion() -> None:
    # Relative sizes 0.01, 0.05, 0.2 and 0.8.
    areas = dict(zip(range(200), [1] * 100 + [25] * 60 + [400] * 30 + [6400] * 10, strict=True))
    drawn = Counter(areas[one] for one in sample_masks(masks_table(areas), frac=0.1, **ROUND))
    assert drawn == {1: 10, 25: 6, 400: 3, 6400: 1}
    assert tuple(sorted(RELATIVE_SIZE_EDGES)) == RELATIVE_SIZE_EDGES


def test_size_is_relative_to_the_image() -> None:
    areas = dict.fromkeys(range(20), 100)
    small = masks_table(areas, side=1000)
    large = masks_table({20 + number: area for number, area in areas.items()}, side=15)
    drawn = sample_masks(pa.concat_tables([small, large]), frac=0.05, **ROUND)
    assert sorted(one >= 20 for one in drawn) == [False, True]


def test_each_mask_is_as_likely_as_the_others() -> None:
    table = masks_table(dict.fromkeys(range(40), 400))
    times = Counter(one for seed in range(400) for one in sample_masks(table, frac=0.25, **ROUND | {"seed": seed}))
    # 400 draws of 10 of 40: 100 times each, standard deviation 8.7.
    assert min(times.values()) > 100 - 4 * 8.7
    assert max(times.values()) < 100 + 4 * 8.7


def test_a_late_mask_hardly_changes_the_sample() -> None:
    areas = dict.fromkeys(range(500), 400)
    before = set(sample_masks(masks_table(areas), frac=0.1, **ROUND))
    after = set(sample_masks(masks_table(areas | {9999: 400}), frac=0.1, **ROUND))
    assert len(before ^ after) <= 2


def test_a_mask_that_is_there_twice_counts_once() -> None:
    table = masks_table(dict.fromkeys(range(50), 400))
    assert sample_masks(pa.concat_tables([table, table]), frac=0.2, **ROUND) == sample_masks(table, frac=0.2, **ROUND)


def test_nothing_to_draw_from() -> None:
    assert sample_masks(masks_table({0: 1}).slice(1), frac=0.5, **ROUND) == []
    assert sample_images([], count=3, gate="audit", **ROUND) == []


@given(st.sets(st.integers(0, 2**63 - 1), max_size=40), st.integers(0, 50))
def test_images_are_drawn_once_each_whatever_their_order(image_ids: set[int], count: int) -> None:
    drawn = sample_images(image_ids, count=count, gate="audit", **ROUND)
    assert len(drawn) == len(set(drawn)) == min(count, len(image_ids))
    assert set(drawn) <= image_ids
    again = sample_images([*sorted(image_ids, reverse=True), *image_ids], count=count, gate="audit", **ROUND)
    assert drawn == again
    assert drawn == sample_images(image_ids, count=50, gate="audit", **ROUND)[:count], "a larger sample contains it"


def test_gates_draw_by_themselves() -> None:
    audit, exhaustivity = (
        sample_images(range(300), count=30, gate=gate, **ROUND) for gate in ("audit", "exhaustivity")
    )
    assert set(audit) != set(exhaustivity)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        sample_images([1], count=-1, gate="audit", **ROUND)
