"""Intervals of a mean over groups; those of a single mean are in test_points.py."""

import numpy as np
import pytest

from engine.evaluation.bootstrap import bootstrap_mean, bootstrap_mean_of_means


def test_of_one_group_it_is_the_interval_of_its_mean() -> None:
    values = np.random.default_rng(1).random(37)
    found = bootstrap_mean_of_means([values], draws=300, seed=5)
    assert found == pytest.approx(bootstrap_mean(values, draws=300, seed=5))


def test_groups_count_alike_however_many_values_they_have() -> None:
    low, high = bootstrap_mean_of_means([np.zeros(1000), np.ones(3)])
    assert (low, high) == (0.5, 0.5)


def test_the_interval_is_as_wide_as_that_of_independent_means() -> None:
    rng = np.random.default_rng(2)
    groups = [rng.normal(size=400), rng.normal(3, size=100)]
    low, high = bootstrap_mean_of_means(groups, seed=1)
    error = np.sqrt(sum(values.var() / len(values) for values in groups)) / 2
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert low < np.mean([values.mean() for values in groups]) < high
    assert bootstrap_mean_of_means(groups, seed=1) == (low, high)


@pytest.mark.parametrize("groups", [[], [np.ones(2), np.array([])]])
def test_without_values_there_is_no_mean(groups: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean_of_means(groups)
