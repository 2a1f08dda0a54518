"""What a retraining does so that the start model's knowledge is not forgotten; the training is a stand-in."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.evaluation.model_scores import ModelScores
from engine.importance import IMPORTANCE_FILE, write_importance
from engine.replay import REPLAY_FILE, WithReplay
from engine.store import Store
from model.files import file_sha256
from model.registry import model_roots
from model.storage import load_model
from stages import retraining
from stages.model_choice import CAUTIONS, SHARES
from stages.retraining_recipe import training_config
from tests.stages.stand_in_training import (
    ENCODER,
    Training,
    annotated,
    made_here,
    retrained,
    scores,
    token,
)
from tests.stages.workspaces import write_pictures


def test_what_the_start_model_knew_is_replayed_and_measured(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = annotated(tmp_path, replay=str(tmp_path / "old" / "masks.json"), replay_frac=0.25)
    write_pictures(tmp_path / "old", images=3, first_seed=90)
    measured: list[int] = []

    def score_model(predictor: Any, samples: Any) -> ModelScores:
        kept = list(samples)
        measured.append(sum(len(sample.masks) for sample in kept))
        assert all(sample.image.shape[:2] == (48, 56) for sample in kept), "as large as they are"
        return scores([0.5] * 9)

    monkeypatch.setattr(retraining, "score_model", score_model)
    found = retrained(store, record)
    assert isinstance(training.source, WithReplay)
    assert len(training.source) == 4 + 3
    weights = training.options["weights"]
    assert sum(weights[4:]) / sum(weights) == pytest.approx(0.25)
    assert set(measured) == {9}, "each time the same masks"
    assert found.metrics.score("old_miou").before == found.metrics.score("old_miou").after == 0.5
    lineage = made_here(store).card.trained_on
    assert lineage["replay"]
    assert lineage["replay_frac"] == 0.25


def knows(store: Store, importance: float) -> Path:
    """Known things rest on all weights of the start model alike."""
    sam, info = load_model("tiny", model_roots(store.workspace))
    file = info.folder / IMPORTANCE_FILE
    write_importance({name: torch.full_like(value, importance) for name, value in sam.named_parameters()}, file)
    return file


def test_weights_on_which_known_things_rest_move_less(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path, images=4, holdout=0, steps=2)
    file = knows(store, 1.0)
    start = token(store, record.model_before)
    found = retrained(store, record)
    share = 1 / (1 + CAUTIONS[0])
    assert token(store, found.model_id) == pytest.approx(start + share * (1 - start))
    assert found.metrics.share == pytest.approx(share)
    assert made_here(store).card.trained_on["importance"] == file_sha256(file)[:16]
    recipe = training_config(store.files.settings(), record, ENCODER, images=4, careful=True)
    assert training.config == recipe
    assert (recipe.lr, recipe.encoder_lr_factor) == (3e-4, 0.5)
    assert {float(value.mean()) for value in training.options["step_shares"].values()} == {0.5}
    assert made_here(store).card.trained_on["caution"] == 1.0


def test_steps_are_shortened_by_the_caution_that_is_asked_for(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path, images=4, holdout=0, caution=3)
    knows(store, 1.0)
    retrained(store, record)
    assert {float(value.mean()) for value in training.options["step_shares"].values()} == {0.25}
    assert made_here(store).card.trained_on["caution"] == 3.0


@pytest.mark.parametrize("settings", [{"caution": 0}, {"preset": "nano", "steps": 10, "masks_per_image": None}])
def test_all_weights_move_alike_where_that_is_asked_for(
    tmp_path: Path, training: Training, settings: dict[str, Any]
) -> None:
    store, record = annotated(tmp_path, images=4, holdout=0, **settings)
    knows(store, 1.0)
    found = retrained(store, record)
    assert found.metrics.share == SHARES[0]
    assert training.options["step_shares"] is None
    assert training.config.lr != 3e-4
    assert made_here(store).card.trained_on["importance"] == ""


@pytest.mark.parametrize("settings", [{"replay_frac": 0.0}, {}])
def test_nothing_is_replayed_where_that_is_off_or_there_is_nothing(
    tmp_path: Path, training: Training, settings: dict[str, Any]
) -> None:
    store, record = annotated(tmp_path, **settings)
    if settings:
        replayed = write_pictures(tmp_path / "old", images=2, first_seed=90)
        replayed.rename(store.workspace / "models" / "tiny" / REPLAY_FILE)
    retrained(store, record)
    assert len(training.source) == 4
    lineage = made_here(store).card.trained_on
    assert (lineage["replay"], lineage["replay_frac"]) == ("", 0.0)
