"""Retraining on masks of the store really teaches: pictures that were held out show it."""

from pathlib import Path

from model.registry import ModelCard, read_info, save_model
from model.training.initialise import point_cross_attention
from stages.rounds import tick
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
