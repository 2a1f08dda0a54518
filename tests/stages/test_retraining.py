"""Retraining on masks of the store really teaches: pictures that were held out show it."""

import shutil
from pathlib import Path

import pytest

from engine.store import Store
from model.registry import ModelCard, list_models, read_info, save_model
from model.training.initialise import point_cross_attention
from schemas.errors import InputError
from stages import retraining
from stages.rounds import next_step, tick
from tests.stages.workspaces import make_workspace, tiny_sam


def test_a_retraining_raises_the_score_on_held_out_pictures(tmp_path: Path) -> None:
    store = make_workspace(
        tmp_path,
        images=24,
        holdout=8,
        model={"start": "untaught", "device": "cpu"},
        assisted_manual={"rounds": 1},
        retraining={"steps": 600, "masks_per_image": 3},
    )
    untaught = tiny_sam()
    point_cross_attention(untaught, seed=0)
    save_model(untaught, store.workspace / "models", ModelCard(name="untaught"))
    while tick(store, "assisted_manual").action != "retrain":
        pass
    (record,) = store.rounds()
    for score in ("miou", "miou_oracle"):
        assert record.metrics[f"{score}_after"] > record.metrics[f"{score}_before"] + 0.05
    (folder,) = (store.workspace / "models").glob("assisted_manual-1-*")
    trained = read_info(folder)
    assert trained.model_id == record.model_after
    assert trained.card.parent == record.model_before
    assert trained.card.trained_on["masks"] == record.metrics["trained_masks"] == 8 * 3


def test_a_name_that_another_model_has_is_said_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_workspace(tmp_path, images=2, holdout=0)
    while next_step(store, "assisted_manual").action != "retrain":
        tick(store, "assisted_manual")
    twin = Store(shutil.copytree(store.workspace, tmp_path / "twin"))
    tick(twin, "assisted_manual")
    (made,) = (model for model in list_models([twin.workspace / "models"]) if model.name != "tiny")
    save_model(tiny_sam(), store.workspace / "models", ModelCard(name=made.name))

    def train(*_: object, **__: object) -> None:
        raise AssertionError("it was trained")

    monkeypatch.setattr(retraining, "train", train)
    with pytest.raises(InputError, match=f"{made.name}: another model has this name"):
        tick(store, "assisted_manual")
