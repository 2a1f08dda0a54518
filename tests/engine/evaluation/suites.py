"""A suite's result whose numbers are known."""

import numpy as np

from engine.evaluation.peers import Scores
from engine.evaluation.scores import PromptScores
from engine.evaluation.suite import MeasuredSet, SuiteResult
from schemas.suite import Suite, SuiteSet

SUITE = Suite(
    sets={name: SuiteSet(coco=("x.json",)) for name in ("a", "b|c")},
    models=("ours", "theirs"),
    baselines=("felzenszwalb", "grabcut"),
    clicks=(1, 3),
    output="out",
)


def scores(confident: list[float], oracle: list[float] | None = None) -> PromptScores:
    return PromptScores(np.array(confident), np.array(oracle or confident))


def model_scores(one: list[float], oracle: list[float], three: list[float], box: list[float]) -> Scores:
    return {"1": scores(one, oracle), "3": scores(three), "box": scores(box)}


def result() -> SuiteResult:
    """Ours is better than theirs on a at 1 click, by 0.1 and 0.3, and alike on b|c."""
    a = {
        "ours": model_scores([0.5, 0.7], [0.6, 0.8], [0.8, 0.8], [0.9, 0.7]),
        "theirs": model_scores([0.4, 0.4], [0.6, 0.8], [0.6, 0.8], [0.9, 0.7]),
        "felzenszwalb": {"1": scores([0.1, 0.9], [0.2, 0.9])},
        "grabcut": {"box": scores([0.5, 0.5])},
    }
    b = {
        "ours": model_scores([0.2], [0.4], [0.6], [0.5]),
        "theirs": model_scores([0.2], [0.4], [0.6], [0.5]),
        "felzenszwalb": {"1": scores([0.05])},
        "grabcut": {"box": scores([0.9])},
    }
    sets = {"a": MeasuredSet(2, 2, "all masks", a), "b|c": MeasuredSet(1, 1, "all masks, of 5 px or more", b)}
    return SuiteResult(("ours", "theirs", "felzenszwalb", "grabcut"), sets, {"gone": "gone.json: no such file"})
