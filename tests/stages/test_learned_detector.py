"""The detector of a round: trained once, from the nearest before it, and never on what it is measured with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import stages.prefill
import stages.prefill_detector
from engine import rle as rle_codec
from engine.keys import content_key
from engine.store import Store
from model.object_detector import (
    CARD_FILE,
    DETECTOR_FOLDER,
    DetectorConfig,
    ObjectDetector,
    save_detector,
)
from model.predictor import Predictor
from model.registry import ModelCard, find_model, model_roots
from model.storage import load_model, save_model
from schemas.errors import InputError, WaitError
from schemas.rle import Rle
from schemas.round_metrics import NOTHING_PASSES, PrefillThreshold
from schemas.stages import Stage
from schemas.tables import GROUND_TRUTH, Round, table_of
from stages.prefill import prefill
from stages.prefill_detector import LearnedDetector
from stages.prefilling import RoundWork
from stages.records import ShardRows, Where
from stages.rounds import tick
from stages.workers import Picture
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace, shapes, tiny_sam


def annotate(store: Store, *, stage: Stage = "assisted_manual", round: int = 1, images: int | None = None) -> list[int]:
    """The ground truth of the first training images as masks of a round; returns the ids of the images."""
    chosen = [row["image_id"] for row in store.images().to_pylist() if row["split"] == "train"][:images]
    for shard in store.shards():
        rows = [
            mask_row(
                Rle.of_row(row),
                image_id=row["image_id"],
                shard=shard,
                stage=stage,
                round=round,
                origin="manual",
                annotator="simulated",
            )
            for row in store.read_shard(GROUND_TRUTH, shard).to_pylist()
            if row["image_id"] in chosen
        ]
        key = content_key(stage, round, sorted(row["mask_id"] for row in rows))
        store.replace_shard(stage, shard, table_of(stage, rows), round=round, key=key)
    return chosen


def of_round(
    store: Store, *, stage: Stage = "semi_automatic", round: int = 1, steps: int = 4, model: str = "tiny"
) -> LearnedDetector:
    roots = model_roots(store.workspace)
    record = Round(stage, round, (), model_before=find_model(model, roots).model_id)
    found = LearnedDetector(RoundWork(store, store.files.settings(), record, load_model(model, roots)[0]))
    found.training = replace(found.training, min_steps=steps, passes=1)
    return found


def test_the_detector_of_a_round_is_trained_once(workspace: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    annotate(workspace)
    first = of_round(workspace)
    detector, threshold, card = first.trained
    assert (threshold.measured_on, threshold.images, threshold.objects) == ("holdout", 1, 3)
    assert (card["images"], card["masks"]) == (5, 15)
    assert card["model_id"] == find_model("tiny", model_roots(workspace.workspace)).model_id
    assert card["versions"]["assisted_manual"] == workspace.versions()["assisted_manual"]
    assert first.folder == workspace.workspace / "labeling" / "detectors" / first.key

    monkeypatch.setattr(stages.prefill_detector, "train_detector", lambda *_, **__: pytest.fail("trained again"))
    again = of_round(workspace)
    assert again.trained.threshold == threshold
    assert again.trained.card == card
    assert all(
        torch.equal(value, again.trained.detector.state_dict()[name]) for name, value in detector.state_dict().items()
    )


def test_a_round_goes_on_from_the_detector_of_its_model_or_of_an_ancestor(workspace: Store) -> None:
    annotate(workspace)
    roots = model_roots(workspace.workspace)
    without, parent = of_round(workspace), find_model("tiny", roots)
    assert without.trained.card["start"] is None
    sam = load_model("tiny", roots)[0]
    with torch.no_grad():
        next(sam.parameters()).add_(0.01)
    save_model(sam, workspace.workspace / "models", ModelCard(name="child", parent=parent.model_id))
    predictor = Predictor(sam)
    predictor.set_image(shapes(0)[0])
    shipped = ObjectDetector(DetectorConfig.for_embedding(predictor.encoded.embedding))
    save_detector(shipped, parent.folder / DETECTOR_FOLDER, {})
    own, of_child = of_round(workspace), of_round(workspace, model="child")
    sha = json.loads((parent.folder / DETECTOR_FOLDER / CARD_FILE).read_text())["weights_sha256"]
    assert own.trained.card["start"] == of_child.trained.card["start"] == sha
    assert len({without.key, own.key, of_child.key}) == 3


def test_prefilled_masks_are_those_above_the_threshold(workspace: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages.prefill, "_LEAST_BOX_SCORE", 0.0)  # a detector of four steps is sure of nothing
    annotate(workspace)
    of = of_round(workspace)
    predictor = Predictor(tiny_sam())
    predictor.set_image(shapes(0)[0])
    detector, threshold, _ = of.trained
    of.trained = of.trained._replace(threshold=threshold.model_copy(update={"threshold": 0.0}))
    found = prefill(predictor, detector, threshold=0.0, settings=of.settings)
    where = Where(1, "000000", "semi_automatic", 1, of._record.model_before)
    expected = [replace(mask, model_id=where.model_id, generator_config=of.key) for mask in found]
    assert expected
    assert of.masks(Picture(1, shapes(0)[0], 0.0), where, ShardRows()) == expected
    of.trained = of.trained._replace(threshold=threshold.model_copy(update={"threshold": NOTHING_PASSES}))
    assert of.masks(Picture(1, shapes(0)[0], 0.0), where, ShardRows()) == []


def test_the_key_follows_what_the_detector_follows_from(workspace: Store) -> None:
    annotate(workspace, images=3)
    before = of_round(workspace).key
    annotate(workspace, stage="semi_automatic", round=1)
    assert of_round(workspace).key == before, "masks that the round itself makes do not count"
    keys = {before, of_round(workspace, round=2).key, of_round(workspace, steps=5).key}
    annotate(workspace, round=2, images=4)
    keys.add(of_round(workspace).key)
    config = workspace.workspace / "engine.yaml"
    config.write_text(config.read_text() + "seed: 7\n")
    keys.add(of_round(workspace).key)
    assert len(keys) == 5


def test_without_held_out_images_a_fifth_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_workspace(tmp_path, images=6, holdout=0)
    annotate(store)
    learned: list[int] = []
    train = stages.prefill_detector.train_detector

    def watched(source: Any, *args: Any, **options: Any) -> ObjectDetector:
        learned.extend(source._image_ids)
        return train(source, *args, **options)

    monkeypatch.setattr(stages.prefill_detector, "train_detector", watched)
    of = of_round(store)
    threshold = of.trained.threshold
    assert (threshold.measured_on, threshold.images, threshold.objects) == ("training_fifth", 2, 6)
    assert len(learned) == of.trained.card["images"] == 4
    assert "set aside" in threshold.summary()


def test_held_out_images_are_not_learned_from(workspace: Store) -> None:
    """Also where somebody annotated them all the same."""
    chosen = annotate(workspace)
    held_out = next(row["image_id"] for row in workspace.images().to_pylist() if row["split"] == "holdout")
    shard = workspace.shard_of(held_out)
    rows = workspace.read_shard("assisted_manual", shard).to_pylist()
    rows.append(
        mask_row(
            rle_codec.encode(shapes(5)[1][0]),
            image_id=held_out,
            shard=shard,
            stage="assisted_manual",
            round=1,
            origin="manual",
            annotator="simulated",
        )
    )
    table = table_of("assisted_manual", rows)
    workspace.replace_shard("assisted_manual", shard, table, round=1, key=content_key("more"))
    assert of_round(workspace).trained.card["images"] == len(chosen)


def test_without_masks_it_says_what_to_do(workspace: Store) -> None:
    with pytest.raises(WaitError, match=r"no masks to train .*\(sam-engine run assisted_manual .*prefill to generator"):
        _ = of_round(workspace).trained


def test_a_single_image_is_too_few(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=3, holdout=0)
    annotate(store, images=1)
    with pytest.raises(WaitError, match="of a single image"):
        _ = of_round(store).key


def test_a_damaged_detector_is_named(workspace: Store) -> None:
    annotate(workspace)
    folder = of_round(workspace).folder
    _ = of_round(workspace).trained
    (folder / CARD_FILE).write_text("{")
    with pytest.raises(InputError, match=f"{folder}: a damaged detector"):
        _ = of_round(workspace).trained


def test_progress_is_told(workspace: Store) -> None:
    annotate(workspace)
    told: list[tuple[str, int, int]] = []
    of = of_round(workspace)
    of._progress = lambda what, done, total, note="": told.append((what, done, total))
    _ = of.trained
    assert told == [
        *[("semi_automatic round 1, training the detector", step, 4) for step in range(1, 5)],
        ("semi_automatic round 1, measuring the detector", 1, 1),
    ]


def test_a_round_with_the_detector_from_tick_to_tick(tmp_path: Path, detector: ObjectDetector) -> None:
    """`prefill: detector` is the default. Here any mask will do, and the detector begins as one that sees much."""
    anything = {"stability_score_thresh": 0.0, "min_mask_region_area": 0, "drop_small_masks": False}
    store = make_workspace(
        tmp_path,
        assisted_manual={"rounds": 1},
        semi_automatic={"rounds": 1, "prefill_precision": 1e-6, "generator": anything},
    )
    save_detector(detector, store.workspace / "models" / "tiny" / DETECTOR_FOLDER, {})
    while tick(store, "assisted_manual").state != "done":
        pass
    while tick(store, "semi_automatic").state != "done":
        pass
    record = next(one for one in store.rounds() if one.stage == "semi_automatic")
    (folder,) = (store.workspace / "labeling" / "detectors").iterdir()
    card = json.loads((folder / CARD_FILE).read_text())
    assert card["model_id"] == record.model_before
    assert card["start"]
    assert record.metrics.prefill == PrefillThreshold(**card["threshold"])
    prefilled = [row for row in store.read_table("semi_automatic").to_pylist() if row["origin"] != "manual"]
    assert {row["generator_config"] for row in prefilled} <= {folder.name}
