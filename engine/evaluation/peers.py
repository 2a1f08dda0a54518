"""What a suite compares: models and baselines, each with its scores by prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from engine.evaluation.baselines import FELZENSZWALB_SCALES, felzenszwalb_at_points, grabcut_from_boxes
from engine.evaluation.boxes import evaluate_boxes
from engine.evaluation.evaluations import Samples
from engine.evaluation.points import Choose, centre_point, evaluate_points, random_point
from engine.evaluation.scores import PromptScores
from engine.keys import work_key
from model.predictor import Predictor
from model.registry import ModelInfo, find_model
from model.storage import load_model
from schemas.errors import InputError
from schemas.suite import Suite

BOX = "box"
Scores = dict[str, PromptScores]  # by prompt: numbers of clicks as text, and "box"
Measure = Callable[[Samples], Scores]


@dataclass(frozen=True)
class Peer:
    """A model or a baseline. key: of all that its scores follow from besides the masks.

    ready: gives what measures, which may take long and hold much memory.
    """

    name: str
    key: str
    ready: Callable[[], Measure]


def suite_peers(suite: Suite, roots: Sequence[Path], *, device: torch.device | str = "cpu") -> list[Peer]:
    """The models of a suite, the first one first, and its baselines.

    roots: folders of models. Raises InputError where a model is not there, or two are of one name.
    """
    baselines = {"felzenszwalb": _felzenszwalb, "grabcut": _grabcut}
    peers = [
        *(_model(find_model(name, roots), suite, roots, device) for name in suite.models),
        *(baselines[name](suite) for name in suite.baselines),
    ]
    names = [peer.name for peer in peers]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"models: two models or baselines are called {name}; give each once")
    return peers


def _model(info: ModelInfo, suite: Suite, roots: Sequence[Path], device: torch.device | str) -> Peer:
    def measured(predictor: Predictor, samples: Samples) -> Scores:
        of_points = samples.told(f"{info.name}, clicks")
        found = evaluate_points(predictor, of_points, clicks=suite.clicks, first=_first_point(suite))
        scores = {str(clicks): of_clicks for clicks, of_clicks in found.items()}
        return scores | (
            _named(BOX, evaluate_boxes(predictor, samples.told(f"{info.name}, boxes"))) if suite.boxes else {}
        )

    def opened() -> Measure:
        sam, _ = load_model(info.folder, roots, device=device)
        return partial(measured, Predictor(sam))

    return Peer(info.name, work_key("model", info.model_id, suite.clicks, suite.boxes, *_points_of(suite)), opened)


def _felzenszwalb(suite: Suite) -> Peer:
    def measured(samples: Samples) -> Scores:
        return _named("1", felzenszwalb_at_points(samples.told("Felzenszwalb"), choose=_first_point(suite)))

    return Peer("felzenszwalb", work_key("felzenszwalb", FELZENSZWALB_SCALES, *_points_of(suite)), lambda: measured)


def _grabcut(suite: Suite) -> Peer:
    def measured(samples: Samples) -> Scores:
        return _named(BOX, grabcut_from_boxes(samples.told("GrabCut")))

    return Peer("grabcut", work_key("grabcut"), lambda: measured)


def _named(prompt: str, scores: PromptScores | None) -> Scores:
    return {} if scores is None else {prompt: scores}


def _first_point(suite: Suite) -> Choose:
    """Of every peer and set anew, so that all of them are asked at the same points."""
    return random_point(suite.seed) if suite.first_point == "random" else centre_point


def _points_of(suite: Suite) -> tuple[object, ...]:
    return ("random", suite.seed) if suite.first_point == "random" else ("centre",)
