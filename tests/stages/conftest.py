from pathlib import Path

import pytest
import torch

from engine.store import Store
from model.object_detector import (
    DetectorConfig,
    ObjectDetector,
)
from model.predictor import Predictor
from stages import importances, retraining
from stages.rounds import TickResult, tick
from tests.stages.stand_in_training import Training, all_weights_matter
from tests.stages.workspaces import make_workspace, shapes, tiny_sam


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[TickResult]]:
    """A workspace whose three stages are through, and what each tick said."""
    store = make_workspace(tmp_path_factory.mktemp("finished"))
    results = []
    for stage in ("assisted_manual", "semi_automatic", "fully_automatic"):
        while not results or results[-1].stage != stage or results[-1].state != "done":
            results.append(tick(store, stage))
    return store, results


@pytest.fixture
def workspace(tmp_path: Path) -> Store:
    """A fresh workspace with six pictures, one of them held out."""
    return make_workspace(tmp_path)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    predictor = Predictor(tiny_sam())
    predictor.set_image(shapes(3)[0])
    return predictor


@pytest.fixture(scope="module")
def detector(predictor: Predictor) -> ObjectDetector:
    """With random weights, every cell of which is rather sure."""
    torch.manual_seed(4)
    detector = ObjectDetector(DetectorConfig.for_embedding(predictor.encoded.embedding)).eval()
    with torch.no_grad():
        detector.objectness.bias.fill_(1.0)
        for head in (detector.objectness, detector.log_distances):
            head.weight.mul_(20)
    return detector


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    """In the place of the training of a round."""
    made = Training()
    monkeypatch.setattr(retraining, "train", made)
    monkeypatch.setattr(importances, "measure_importance", all_weights_matter)
    return made
