"""Which trainings an ablation comes to, by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ablation import EXPERIMENTS, Ablation, Mix
from schemas.stages import Stage
from schemas.suite import SuiteSet
from stages.ablation_plan import Training, experiments_of, trainings_of, weights_of


def ablation(**keys: Any) -> Ablation:
    return Ablation(sets={"a": SuiteSet(coco=("a.json",))}, output="out", **keys)


MANUAL, SEMI, AUTO = "assisted_manual", "semi_automatic", "fully_automatic"


@pytest.mark.parametrize(
    ("mix", "weights"),
    [
        ("manual", ((MANUAL, 1.0),)),
        ("semi", ((MANUAL, 1.0), (SEMI, 1.0))),
        ("automatic", ((MANUAL, 1.0), (SEMI, 1.0), (AUTO, 1.0))),
        ("oversampled", ((MANUAL, 7.0), (SEMI, 7.0), (AUTO, 1.0))),
        ("automatic_only", ((AUTO, 1.0),)),
    ],
)
def test_mixes(mix: Mix, weights: tuple[tuple[Stage, float], ...]) -> None:
    assert weights_of(mix, 7.0) == weights


def test_the_curve_of_stages_has_the_mixes_that_are_asked_for() -> None:
    (found,) = experiments_of(ablation(experiments=("stages",), mixes=("manual", "semi")))
    assert [(variant.label, variant.x) for variant in found.variants] == [
        ("start model", 0),
        ("manual", 1),
        ("+ semi-automatic", 2),
    ]
    assert trainings_of([found]) == [Training("nano", weights_of("manual", 1)), Training("nano", weights_of("semi", 1))]


def test_the_curves() -> None:
    found = {each.name: each for each in experiments_of(ablation(encoders=("small", "large"), data=(0.1, 1.0)))}
    assert tuple(found) == EXPERIMENTS
    assert [(variant.label, variant.x) for variant in found["stages"].variants] == [
        ("start model", 0),
        ("manual", 1),
        ("+ semi-automatic", 2),
        ("+ automatic", 3),
        ("all, people's masks 10x", 4),
        ("automatic only", 5),
    ]
    assert found["stages"].variants[0].trainings == ()
    everything = weights_of("oversampled", 10)
    assert [variant.trainings for variant in found["data"].variants] == [
        (Training("nano", everything, data=0.1),),
        (Training("nano", everything),),
    ]
    assert [(variant.x, variant.trainings) for variant in found["encoder"].variants] == [
        (0, (Training("small", everything),)),
        (1, (Training("large", everything),)),
    ]
    assert [variant.trainings for variant in found["points"].variants] == [
        (Training("nano", ((AUTO, 1.0),), points_per_side=side),) for side in (8, 16, 32)
    ]


def test_a_training_that_several_curves_have_is_done_once() -> None:
    found = experiments_of(ablation())
    # stages: 5; data: 2 more beside all of it; encoder: the start model is one of these; points: 3.
    assert len(trainings_of(found)) == 5 + 2 + 0 + 3
    assert trainings_of(found)[0] == Training("nano", ((MANUAL, 1.0),))


@given(st.sets(st.sampled_from(EXPERIMENTS), min_size=1), st.sets(st.integers(0, 9), min_size=1, max_size=3))
def test_every_point_has_a_training_a_seed_and_none_comes_twice(names: set[Any], seeds: set[int]) -> None:
    asked = ablation(experiments=tuple(sorted(names)), seeds=tuple(sorted(seeds)))
    found = experiments_of(asked)
    assert [each.name for each in found] == list(asked.experiments)
    trainings = trainings_of(found)
    assert len(set(trainings)) == len(trainings)
    for variant in (variant for each in found for variant in each.variants if variant.label != "start model"):
        assert [training.seed for training in variant.trainings] == list(asked.seeds)
        assert set(variant.trainings) <= set(trainings)
