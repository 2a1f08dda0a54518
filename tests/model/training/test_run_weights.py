"""Weights in runs beside a list of all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training.run_weights import RunWeights

WEIGHTS = st.lists(st.sampled_from([0.5, 1.0, 2.25, 10.0]), min_size=1, max_size=30)


@given(WEIGHTS)
def test_they_are_the_list_that_they_were_made_of(weights: list[float]) -> None:
    made = RunWeights.of(weights)
    assert RunWeights.of(made) is made
    assert made == weights == list(made)
    assert made == tuple(weights)
    assert made == RunWeights.of(weights)
    assert hash(made) == hash(RunWeights.of(weights))
    assert made != [*weights, 1.0]
    assert made != "weights"
    assert [made[place] for place in range(-len(weights), len(weights))] == weights * 2
    assert made[2:] == weights[2:]
    assert made.total == pytest.approx(sum(weights))
    with pytest.raises(IndexError):
        made[len(weights)]


@given(WEIGHTS, st.data())
def test_some_come_more_often(weights: list[float], data: st.DataObject) -> None:
    some = data.draw(st.lists(st.integers(0, len(weights) - 1), unique=True).map(sorted))
    factors = [1.5 + number for number in range(len(some))]
    expected = list(weights)
    for number, factor in zip(some, factors, strict=True):
        expected[number] *= factor
    made = RunWeights.of(weights).times(np.array(some, dtype=np.int64), np.array(factors))
    assert made == expected
    assert made.followed_by(3.0, count=2) == [*expected, 3.0, 3.0]
    assert made.followed_by(3.0, count=0) is made


@given(WEIGHTS)
def test_how_often_each_comes(weights: list[float]) -> None:
    expected = [round(weight / min(weights)) for weight in weights]  # halves to even, as numpy does
    repeats = RunWeights.of(weights).repeats()
    assert repeats.at(np.arange(len(weights))).tolist() == expected
    together = [sum(expected[:number]) for number in range(len(weights) + 1)]
    assert repeats.before(np.arange(len(weights) + 1)).tolist() == together
