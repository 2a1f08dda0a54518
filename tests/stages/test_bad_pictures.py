"""Pictures of a workspace that were damaged after they came in: a retraining bears some, and says which."""

from pathlib import Path

import pytest

from engine.store import Store
from model.registry import read_info
from schemas.errors import InputError
from stages.planning import next_step
from stages.rounds import tick
from tests.stages.workspaces import make_workspace

RETRAINING = {"steps": 4, "masks_per_image": 2}


def _to_retrain(folder: Path, **settings: object) -> Store:
    """A workspace whose next tick retrains."""
    store = make_workspace(folder, images=6, holdout=2, retraining=RETRAINING | settings)
    while next_step(store, "assisted_manual").action != "retrain":
        tick(store, "assisted_manual")
    return store


def _damage(store: Store, split: str, count: int) -> list[Path]:
    """Cut off some pictures of a split."""
    rows = [row for row in store.images().to_pylist() if row["split"] == split]
    paths = [store.workspace / row["path"] for row in sorted(rows, key=lambda row: row["image_id"])[:count]]
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])
    return paths


def test_a_retraining_skips_and_lists_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    store = _to_retrain(tmp_path, max_bad_frac=0.5)
    (learned_from,), (measured,) = _damage(store, "train", 1), _damage(store, "holdout", 1)
    assert tick(store, "assisted_manual").action == "retrain"
    (record,) = store.rounds()
    metrics = record.metrics
    skipped = metrics.skipped
    assert (skipped["unreadable"], skipped["without_masks"]) == (1, 0)
    assert str(learned_from) in skipped["listed"][0]
    assert metrics.measured_images == 1, f"{measured} cannot be measured on"
    card = read_info(next((store.workspace / "models").glob("assisted_manual-1-*"))).card
    assert card.metrics["skipped"] == skipped


def test_more_than_the_settings_allow_end_it_with_the_setting_to_raise(tmp_path: Path) -> None:
    store = _to_retrain(tmp_path)
    _damage(store, "train", 4)
    says = r"^1 of 2 pictures cannot be trained on, .*; mend them, or raise retraining\.max_bad_frac in .*engine\.yaml$"
    with pytest.raises(InputError, match=says):
        tick(store, "assisted_manual")
    assert not list((store.workspace / "models").glob("assisted_manual-1-*"))


def test_a_retraining_that_skipped_nothing_says_nothing_of_it(tmp_path: Path) -> None:
    store = _to_retrain(tmp_path)
    tick(store, "assisted_manual")
    card = read_info(next((store.workspace / "models").glob("assisted_manual-1-*"))).card
    assert "skipped" not in card.metrics
