"""How long a retraining looks at its new pictures, and what it finds there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.importance import IMPORTANCE_FILE, write_importance
from engine.snapshots import SnapshotDataset, training_samples
from model.config import SamConfig
from model.sam import Sam, build_sam
from model.training.presets import retrain
from stages import importances
from stages.importances import MOST_LOOKS, find_importances
from tests.stages.stand_in_training import ENCODER, STAGE, annotated

PICTURES = 4


@pytest.fixture
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam(SamConfig(ENCODER)).eval()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SnapshotDataset:
    store, _ = annotated(tmp_path_factory.mktemp("samples"), images=PICTURES, holdout=0)
    versions = store.versions()
    return training_samples(store, tables_versions=versions, selection="accumulated", stage=STAGE, round=1)


@pytest.fixture
def known(sam: Sam, tmp_path: Path) -> Path:
    write_importance(
        {name: torch.ones_like(value) for name, value in sam.named_parameters()}, tmp_path / IMPORTANCE_FILE
    )
    return tmp_path / IMPORTANCE_FILE


@pytest.mark.parametrize(("steps", "looks"), [(40, 2 * PICTURES), (9, 2 * PICTURES), (3, 3), (1, 1)])
def test_it_looks_twice_at_each_picture_and_no_longer_than_for_a_quarter_of_the_training(
    sam: Sam, samples: SnapshotDataset, known: Path, monkeypatch: pytest.MonkeyPatch, steps: int, looks: int
) -> None:
    """A step shows four pictures, so a quarter of them is as many as there are steps."""
    asked: dict[str, Any] = {}

    def measure_importance(*_: Any, **options: Any) -> dict[str, torch.Tensor]:
        asked.update(options)
        options["on_look"](options["looks"])
        return {}

    monkeypatch.setattr(importances, "measure_importance", measure_importance)
    told: list[tuple[int, int]] = []
    recipe = retrain(steps=steps, images=PICTURES, masks_per_image=3, seed=5)
    find_importances(sam, samples, recipe, known, lambda done, total: told.append((done, total)))
    assert told == [(looks, looks)]
    assert (asked["masks_per_image"], asked["seed"]) == (3, 5)


def test_of_many_pictures_it_looks_at_some(
    sam: Sam, samples: SnapshotDataset, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_LOOKS == 24
    monkeypatch.setattr(importances, "MOST_LOOKS", 2)
    told: list[tuple[int, int]] = []
    find_importances(sam, samples, retrain(images=PICTURES), known, lambda done, total: told.append((done, total)))
    assert told[-1] == (2, 2)


def test_what_new_pictures_ask_for_is_found_beside_what_is_known(
    sam: Sam, samples: SnapshotDataset, known: Path
) -> None:
    recipe = retrain(steps=2, images=PICTURES)
    found = find_importances(sam, samples, recipe, known, lambda done, total: None)
    token = "mask_decoder.iou_token.weight"
    assert float(found.known[token].mean()) == pytest.approx(1, abs=0.01)
    assert np.isfinite(found.new[token].numpy()).all()
    assert float(found.new[token].sum()) > 0
