"""The stratified sample: bounded, independent of order, the same number of each bin for all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.release.report.strata import SIZE_EDGES, STRATA, StratifiedSample, common_counts, stratum_of

sizes = st.lists(st.floats(0, 1), max_size=60)
LIMIT = 4


def sample_of(
    values: list[float], order: list[int] | None = None, *, limit: int = LIMIT, at_once: int = 7, seed: int = 0
) -> StratifiedSample:
    """Of masks whose items are their numbers; order: in which they come."""
    sample = StratifiedSample(limit, seed=seed)
    numbers = np.array(range(len(values)) if order is None else order, dtype=np.int64)
    for start in range(0, len(numbers), at_once):
        some = numbers[start : start + at_once]
        sample.add(np.array([values[number] for number in some]), some, some)
    return sample


def test_bins_by_hand() -> None:
    found = stratum_of(np.array([0, 0.0099, 0.01, 0.05, 0.64, 0.99, 1]))
    assert found.tolist() == [0, 0, 1, 3, 7, 7, 7]
    assert STRATA == 8


@given(sizes)
def test_each_bin_gives_its_own_up_to_the_limit(values: list[float]) -> None:
    sample = sample_of(values)
    bins = np.bincount(stratum_of(np.array(values)), minlength=STRATA)
    assert sample.counts() == tuple(np.minimum(bins, LIMIT))
    taken = [int(item) for item in sample.take(sample.counts())]
    assert len(set(taken)) == len(taken)
    found = np.bincount(stratum_of(np.array([values[item] for item in taken])), minlength=STRATA)
    assert tuple(found) == sample.counts()


@given(sizes, st.randoms(use_true_random=False), st.integers(1, 70))
def test_neither_order_nor_portions_matter(values: list[float], random: object, at_once: int) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    sample = sample_of(values)
    other = sample_of(values, order, at_once=at_once)
    assert sample.take(sample.counts()) == other.take(other.counts())


@given(sizes)
def test_the_smaller_sample_lies_in_the_larger(values: list[float]) -> None:
    small, large = sample_of(values, limit=2), sample_of(values, limit=5)
    assert set(small.take(small.counts())) <= set(large.take(large.counts()))


@given(sizes, sizes)
def test_two_datasets_give_the_same_number_of_each_bin(first: list[float], second: list[float]) -> None:
    samples = [sample_of(first), sample_of(second)]
    counts = common_counts(samples)
    for values, sample in zip((first, second), samples, strict=True):
        taken = [values[int(item)] for item in sample.take(counts)]
        assert tuple(np.bincount(stratum_of(np.array(taken)), minlength=STRATA)) == counts
    assert all(count == min(both) for count, *both in zip(counts, *(one.counts() for one in samples), strict=True))


def test_one_dataset_gives_all_it_has() -> None:
    sample = sample_of([0.5] * 9 + [0.001])
    assert common_counts([sample]) == sample.counts() == (1, 0, 0, 0, 0, 0, LIMIT, 0)


def test_masks_of_a_bin_are_chosen_evenly() -> None:
    chosen = sample_of([0.5] * 20_000, limit=2_000, at_once=5_000).take([0] * 6 + [2_000, 0])
    counts, _ = np.histogram(chosen, bins=10, range=(0, 20_000))
    assert (np.abs(counts - 200) < 60).all()  # more than four standard deviations


def test_another_seed_chooses_others() -> None:
    first, second = (sample_of([0.5] * 50, seed=seed).take([0] * 6 + [LIMIT, 0]) for seed in (0, 1))
    assert set(first) != set(second)


@pytest.mark.parametrize("edge", SIZE_EDGES[1:-1])
def test_an_edge_belongs_to_the_bin_above(edge: float) -> None:
    below, above = stratum_of(np.array([np.nextafter(edge, 0), edge]))
    assert above == below + 1
