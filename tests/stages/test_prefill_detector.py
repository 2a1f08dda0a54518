"""The detector of a round: which masks it learns from, what its threshold is measured on, and what its card says."""

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
import yaml

from engine import rle as rle_codec
from engine.keys import content_key
from engine.store import Store
from model.detector_training import DetectorTraining
from model.object_detector import DETECTOR_FOLDER, DetectorConfig, ObjectDetector, save_detector
from model.predictor import Predictor
from model.registry import ModelCard, find_model, model_roots
from model.sam import Sam
from model.storage import load_model, save_model
from schemas.config import CONFIG_FILE
from schemas.errors import WaitError
from schemas.rle import Rle
from schemas.stages import Stage
from schemas.tables import GROUND_TRUTH, Round, table_of
from stages import prefill_detector
from stages.prefill import PrefillSettings, ScoredMask
from stages.prefill_detector import LearnedDetector
from stages.prefilling import RoundWork
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace, shapes, tiny_sam

MANUAL: Stage = "assisted_manual"
SEMI: Stage = "semi_automatic"


def put_masks(store: Store, stage: Stage, round: int, image_ids: list[int], *, which: slice = slice(None)) -> None:
    """Some of the three true masks of each image as those of a round."""
    for shard in store.shards():
        truth: dict[int, list[Rle]] = {}
        for row in store.read_shard(GROUND_TRUTH, shard).sort_by("mask_id").to_pylist():
            truth.setdefault(row["image_id"], []).append(Rle.of_row(row))
        rows = [
            mask_row(mask, image_id=image_id, shard=shard, stage=stage, round=round, origin="manual", annotator="hand")
            for image_id in truth
            if image_id in image_ids
            for mask in truth[image_id][which]
        ]
        key = content_key(stage, round, sorted(row["mask_id"] for row in rows))
        store.replace_shard(stage, shard, table_of(stage, rows), round=round, key=key)


def of_split(store: Store, split: str) -> list[int]:
    return [row["image_id"] for row in store.images().to_pylist() if row["split"] == split]


def of_round(store: Store, *, stage: Stage = SEMI, round: int = 1, sam: Sam | None = None) -> LearnedDetector:
    record = Round(stage, round, (), model_before=find_model("tiny", model_roots(store.workspace)).model_id)
    return LearnedDetector(RoundWork(store, store.files.settings(), record, sam or tiny_sam()))


def random_detector() -> ObjectDetector:
    predictor = Predictor(tiny_sam())
    predictor.set_image(shapes(0)[0])
    return ObjectDetector(DetectorConfig.for_embedding(predictor.encoded.embedding))


def test_it_learns_from_the_rounds_before_its_own(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=6, holdout=1)
    ids = of_split(store, "train")
    for place, (stage, number) in enumerate(((MANUAL, 1), (MANUAL, 2), (SEMI, 1), (SEMI, 2), ("fully_automatic", 1))):
        put_masks(store, stage, number, ids[place : place + 1])  # type: ignore[arg-type]

    def learned_from(stage: Stage, round: int) -> list[int]:
        masks = of_round(store, stage=stage, round=round)._plan.masks
        assert masks.column_names == ["image_id", "mask_id", "bbox"]
        pairs = list(zip(masks["image_id"].to_pylist(), masks["mask_id"].to_pylist(), strict=True))
        assert pairs == sorted(pairs)
        return [image_id for image_id, _ in pairs]

    assert learned_from(SEMI, 1) == sorted(ids[:2] * 3)
    assert learned_from(SEMI, 2) == sorted(ids[:3] * 3)
    assert learned_from(SEMI, 3) == sorted(ids[:4] * 3)
    assert learned_from(MANUAL, 2) == ids[:1] * 3
    assert learned_from("fully_automatic", 1) == sorted(ids[:4] * 3)


def test_a_seeded_choice_of_held_out_images_is_measured_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_workspace(tmp_path, images=7, holdout=5)
    put_masks(store, MANUAL, 1, of_split(store, "train"))
    of = of_round(store)
    held_out = np.sort(of_split(store, "holdout"))
    assert of._plan.measured == held_out.tolist()
    assert of._plan.measured_on == "holdout"
    monkeypatch.setattr(prefill_detector, "MEASURED_IMAGES", 2)
    seed = int(content_key("detector", 0, SEMI, 1), 16) % 2**31
    chosen = np.random.default_rng(seed).permutation(held_out)[:2]
    assert of_round(store)._plan.measured == sorted(chosen.tolist())
    truth = list(of_round(store)._truth())
    assert sorted(image_id for image_id, _ in truth) == sorted(chosen.tolist())
    for image_id, masks in truth:
        rows = store.read_image(GROUND_TRUTH, image_id).to_pylist()
        assert sorted(masks) == sorted(Rle.of_row(row) for row in rows)


@pytest.mark.parametrize(("images", "aside"), [(2, 1), (5, 1), (6, 2)])
def test_without_held_out_images_a_fifth_is_measured_on(tmp_path: Path, images: int, aside: int) -> None:
    store = make_workspace(tmp_path, images=images, holdout=0)
    put_masks(store, MANUAL, 1, of_split(store, "train"))
    put_masks(store, SEMI, 2, of_split(store, "train"), which=slice(1))
    of = of_round(store, round=2)
    plan = of._plan
    seed = int(content_key("detector", 0, SEMI, 2), 16) % 2**31
    chosen = np.random.default_rng(seed).permutation(np.sort(of_split(store, "train")))[:aside]
    assert (plan.measured, plan.measured_on) == (sorted(chosen.tolist()), "training_fifth")
    truth = dict(of._truth())
    assert sorted(truth) == plan.measured
    assert [len(masks) for masks in truth.values()] == [3] * aside, "none of the round itself"
    for image_id, masks in truth.items():
        rows = store.read_rows(MANUAL, image_id=image_id).to_pylist()
        assert sorted(masks) == sorted(Rle.of_row(row) for row in rows)


def test_a_round_that_has_nothing_to_learn_from_says_so_in_full(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=2, holdout=0)
    put_masks(store, SEMI, 1, of_split(store, "train"))
    with pytest.raises(WaitError, match=r"^semi_automatic round 1: there are no masks to train the object detector on"):
        _ = of_round(store).key
    put_masks(store, MANUAL, 1, of_split(store, "train")[:1])
    with pytest.raises(WaitError, match=r"^semi_automatic round 1: the masks so far are of a single image"):
        _ = of_round(store).key


def quarter(mask: Rle, parts: int) -> Rle:
    """So many quarters of a mask's pixels."""
    pixels = rle_codec.decode(mask)
    places = np.flatnonzero(pixels)
    pixels.flat[places[len(places) * parts // 4 :]] = False
    return rle_codec.encode(pixels)


def test_a_mask_is_right_from_the_iou_at_which_people_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_workspace(tmp_path, images=4, holdout=2, annotator={"accept_iou": 0.7})
    put_masks(store, MANUAL, 1, of_split(store, "train"))
    of, told = of_round(store), []
    of._progress = lambda what, done, total, note="": told.append((what, done, total))
    listed = list(of._truth())
    truth = iter(listed)
    looked_at: list[np.ndarray] = []
    set_image = of._predictor.set_image
    monkeypatch.setattr(of._predictor, "set_image", lambda image: (looked_at.append(image), set_image(image)))
    detector = random_detector()

    def found(predictor: object, given: object, settings: PrefillSettings) -> list[ScoredMask]:
        """Of the three objects one in full, one to three quarters, one in half."""
        assert (predictor, given, settings) == (of._predictor, detector, of.settings)
        _, masks = next(truth)
        return [
            ScoredMask(rle_codec.measured(quarter(mask, parts)), 0.9 - parts / 10)
            for mask, parts in zip(masks, (4, 3, 2), strict=True)
        ]

    asked: dict[str, Any] = {}

    def choose(scores: list[float], right: list[bool], **measured: Any) -> str:
        asked.update(measured, scores=scores, right=right)
        return "chosen"

    monkeypatch.setattr(prefill_detector, "scored_masks", found)
    monkeypatch.setattr(prefill_detector, "choose_or_half", choose)
    assert of._measured_threshold(detector) == "chosen"
    assert asked == {
        "scores": pytest.approx([0.5, 0.6, 0.7] * 2),
        "right": [True, True, False] * 2,
        "objects": 6,
        "images": 2,
        "precision": 0.8,
        "iou": 0.7,
        "measured_on": "holdout",
    }
    assert told == [(f"{SEMI} round 1, measuring the detector", done, 2) for done in (1, 2)]
    for (image_id, _), image in zip(listed, looked_at, strict=True):
        assert (store.load_image(image_id) == image).all()


def test_what_the_training_is_given_and_what_the_card_says_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_workspace(tmp_path, images=6, holdout=0)
    put_masks(store, MANUAL, 1, of_split(store, "train"))
    of, given = of_round(store), {}
    detector = random_detector()

    def train(source: Any, training: DetectorTraining, **options: Any) -> ObjectDetector:
        given.update(options, source=source, training=training)
        return detector

    monkeypatch.setattr(prefill_detector, "train_detector", train)
    _, threshold, card = of.trained
    seed = int(content_key("detector", 0, SEMI, 1), 16) % 2**31
    assert given["training"] == of.training == DetectorTraining(seed=seed)
    assert (given["start"], given["device"]) == (None, torch.device("cpu"))
    source = given["source"]
    learned_from = sorted(set(of_split(store, "train")) - set(of._plan.measured))
    assert len(source) == len(learned_from) == 4
    for place, image_id in enumerate(learned_from):
        sample = source[place]
        rows = store.read_rows(MANUAL, image_id=image_id).sort_by("mask_id").to_pylist()
        scale = np.array([64 / 56] * 4)  # pictures are 56 x 48, the model's input is 64 wide
        assert sample.boxes.numpy() == pytest.approx(np.array([row["bbox"] for row in rows]) * scale, rel=1e-2)
        assert sample.input_hw == (55, 64)
    expected = {
        "model_id": find_model("tiny", model_roots(store.workspace)).model_id,
        "start": None,
        "stage": SEMI,
        "round": 1,
        "versions": store.versions(),
        "images": 4,
        "masks": 12,
        "settings": of.settings.to_dict(),
        "training": asdict(of.training),
        "threshold": threshold.to_dict(),
    }
    assert {name: card[name] for name in expected} == expected
    assert of.metrics() == {"prefill": threshold.to_dict()}
    notes: list[Any] = []
    of._progress = lambda *what: notes.append(what)  # type: ignore[assignment]
    given["on_step"](3, 9, 0.126)
    assert notes == [(f"{SEMI} round 1, training the detector", 3, 9, "loss 0.13")]


def test_the_key_changes_with_all_that_prefilled_masks_follow_from(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=5, holdout=1)
    put_masks(store, MANUAL, 1, of_split(store, "train"))
    settings = yaml.safe_load((store.workspace / CONFIG_FILE).read_text())
    keys = [of_round(store).key]
    of = of_round(store)
    ids = np.sort(store.read_table(MANUAL)["mask_id"].to_numpy())
    plain: tuple[Any, ...] = (
        hashlib.sha256(ids.tobytes()).hexdigest(),
        of._plan.measured,
        [store.committed(GROUND_TRUTH, store.shard_of(image_id)) for image_id in of._plan.measured],
        "holdout",
        of.settings.to_dict(),
        asdict(of.training),
        None,
        0.8,
        of._config.annotator.accept_iou,
    )
    model_id = find_model("tiny", model_roots(store.workspace)).model_id
    assert keys == [content_key(3, model_id, *plain)], "one that was kept before is found again"
    for section, change in (
        ("semi_automatic", {"prefill_precision": 0.7}),
        ("semi_automatic", {"max_prefilled_masks": 3}),
        ("annotator", {"accept_iou": 0.6}),
    ):
        changed = settings | {section: settings[section] | change}
        (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(changed))
        keys.append(of_round(store).key)
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings))
    assert of_round(store).key == keys[0]
    of = of_round(store)
    of.training = replace(of.training, passes=3)
    keys.append(of.key)
    (held_out,) = of_split(store, "holdout")
    shard = store.shard_of(held_out)
    truth = store.read_shard(GROUND_TRUTH, shard)
    fewer = truth.filter(pc.not_equal(truth["image_id"], held_out))
    store.replace_shard(GROUND_TRUTH, shard, fewer, key=content_key("fewer"))
    keys.append(of_round(store).key)
    assert len(set(keys)) == len(keys)


def test_it_goes_on_from_the_nearest_detector_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_workspace(tmp_path, images=3, holdout=1)
    put_masks(store, MANUAL, 1, of_split(store, "train"))
    roots = model_roots(store.workspace)
    tiny = find_model("tiny", roots)
    sam = load_model("tiny", roots)[0]

    def child(name: str, parent: str) -> str:
        with torch.no_grad():
            next(sam.parameters()).add_(0.01)
        return save_model(sam, store.workspace / "models", ModelCard(name=name, parent=parent))

    orphan = child("orphan", "0123456789abcdef")
    grandchild = child("grandchild", child("between", tiny.model_id))
    save_detector(random_detector(), tiny.folder / DETECTOR_FOLDER, {})

    def training(model_id: str) -> DetectorTraining:
        record = Round(SEMI, 1, (), model_before=model_id)
        return LearnedDetector(RoundWork(store, store.files.settings(), record, sam)).training

    number = int(content_key("detector", 0, SEMI, 1), 16) % 2**31
    assert training(orphan) == DetectorTraining(seed=number), "its parent is gone"
    assert training(grandchild) == training(tiny.model_id) == DetectorTraining.to_go_on(seed=number)
    given: dict[str, Any] = {}

    def train(*_: Any, **options: Any) -> ObjectDetector:
        given.update(options)
        return random_detector()

    monkeypatch.setattr(prefill_detector, "train_detector", train)
    card = of_round(store).trained.card
    assert isinstance(given["start"], ObjectDetector)
    assert card["start"]
