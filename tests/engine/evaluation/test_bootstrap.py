"""Intervals of a mean over groups; those of a single mean are in test_points.py."""

import numpy as np
import pytest

from engine.evaluation.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_mean_of_means, bootstrap_runs


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


def test_runs_that_agree_leave_the_interval_of_the_things() -> None:
    values = np.random.default_rng(3).random(200)
    low, high = bootstrap_runs([np.stack([values, values])], draws=4000)
    assert (low, high) == pytest.approx(bootstrap_mean(values, draws=4000), abs=0.004)
    before = values * 0.5
    paired = bootstrap_runs([values[None]], [before[None]], draws=4000)
    assert paired == pytest.approx(bootstrap_difference(before, values, draws=4000), abs=0.004)
    assert bootstrap_runs([values[None]], [values[None]]) == (0, 0)


def test_runs_are_drawn_for_all_groups_together_and_those_before_by_themselves() -> None:
    runs = [np.array([[0.0] * 3, [1.0] * 3]), np.array([[0.0] * 5, [1.0] * 5])]
    assert bootstrap_runs(runs) == (0, 1)  # a run by itself, twice, in every fourth draw
    means = [bootstrap_runs(runs, runs), bootstrap_runs(runs, [runs[0][:1], runs[1][:1]])]
    assert means == [(-1, 1), (0, 1)]


def test_as_wide_as_the_sum_of_both_variances() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(20, 1)) * 0.1 + rng.normal(size=(1, 300))
    low, high = bootstrap_runs([values], draws=4000)
    error = np.sqrt(values.mean(1).var() / 20 + values.mean(0).var() / 300)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


@pytest.mark.parametrize("groups", [[], [np.ones((2, 0))]])
def test_without_runs_there_is_no_mean(groups: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="no values"):
        bootstrap_runs(groups)
