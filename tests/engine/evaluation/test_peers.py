"""Models and baselines of a suite: who they are, what they are asked, and what their kept scores follow from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.evaluation.evaluations import Samples
from engine.evaluation.peers import BOX, suite_peers
from model.registry import ModelCard, find_model
from model.storage import save_model
from model.training.samples import Sample
from schemas.errors import InputError
from schemas.suite import Suite, SuiteSet
from tests.engine.evaluation.fakes import coco_rle, rectangle
from tests.stages.workspaces import tiny_sam


def suite(**values: Any) -> Suite:
    return Suite(**{"sets": {"a": SuiteSet(coco=("a.json",))}, "models": ("tiny",), "output": "out"} | values)


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    save_model(tiny_sam(), tmp_path / "models", ModelCard(name="tiny"))
    return [tmp_path / "models"]


def picture() -> Sample:
    rng = np.random.default_rng(0)
    truths = [rectangle(slice(4, 20), slice(8, 30)), rectangle(slice(30, 50), slice(10, 50))]
    return Sample(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), [coco_rle(truth) for truth in truths])


def test_every_peer_answers_what_it_can_be_asked(roots: list[Path]) -> None:
    peers = suite_peers(suite(baselines=("felzenszwalb", "grabcut"), clicks=(1, 3)), roots)
    told: list[str] = []
    samples = Samples([picture()], lambda what, done, total: told.append(what))
    scores = {peer.name: peer.ready()(samples) for peer in peers}
    assert {name: list(found) for name, found in scores.items()} == {
        "tiny": ["1", "3", BOX],
        "felzenszwalb": ["1"],
        "grabcut": [BOX],
    }
    assert all(len(each.confident) == len(each.oracle) == 2 for found in scores.values() for each in found.values())
    assert list(dict.fromkeys(told)) == ["tiny, clicks", "tiny, boxes", "Felzenszwalb", "GrabCut"]
    (without_boxes,) = suite_peers(suite(clicks=(1,), boxes=False), roots)
    assert list(without_boxes.ready()(samples)) == ["1"]


def test_keys_follow_from_what_changes_scores(roots: list[Path]) -> None:
    def keys(**values: Any) -> list[str]:
        return [peer.key for peer in suite_peers(suite(baselines=("felzenszwalb", "grabcut"), **values), roots)]

    model, felzenszwalb, grabcut = keys()
    assert keys(output="elsewhere", seed=3) == [model, felzenszwalb, grabcut]
    others = [keys(clicks=(1, 2)), keys(first_point="random"), keys(first_point="random", seed=1)]
    assert len({model, *(other[0] for other in others)}) == 4
    assert len({felzenszwalb, *(other[1] for other in others)}) == 3
    assert {other[2] for other in others} == {grabcut}


def test_a_model_is_there_once(roots: list[Path]) -> None:
    with pytest.raises(InputError, match="no model 'large'"):
        suite_peers(suite(models=("tiny", "large")), roots)
    with pytest.raises(InputError, match="two models or baselines are called tiny"):
        suite_peers(suite(models=("tiny", find_model("tiny", roots).model_id)), roots)
