"""Prefilled masks: which boxes become masks, the threshold for a stated precision, and the detector of a round."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import stages.prefill
import stages.prefill_detector
from engine import rle as rle_codec
from engine.keys import content_key
from engine.store import Store
from model.object_detector import (
    CARD_FILE,
    DETECTOR_FOLDER,
    Detections,
    DetectorConfig,
    ObjectDetector,
    save_detector,
)
from model.predictor import Predictor
from model.registry import ModelCard, find_model, model_roots
from model.storage import load_model, save_model
from schemas.config import SemiAutomaticConfig
from schemas.errors import InputError, WaitError
from schemas.rle import Rle
from schemas.round_metrics import NOTHING_PASSES, PrefillThreshold
from schemas.stages import Stage
from schemas.tables import GROUND_TRUTH, Round, table_of
from stages.prefill import PrefillSettings, masks_of_boxes, prefill, scored_masks
from stages.prefill_detector import LearnedDetector
from stages.prefill_threshold import LEAST_KEPT, choose_or_half, choose_threshold
from stages.prefilling import RoundWork
from stages.records import ShardRows, Where
from stages.rounds import tick
from stages.workers import Picture
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace, shapes, tiny_sam

ANY_MASK = PrefillSettings(
    max_masks=40,
    stability_score_thresh=0.0,
    stability_score_offset=0.001,
    min_mask_region_area=0,
    drop_small_masks=False,
    max_mask_area_frac=1.0,
    mask_nms_thresh=0.95,
)


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


def test_half_of_the_masks_must_be_worth_keeping_or_none_is_shown() -> None:
    def choose(*right: bool, precision: float = 0.8) -> tuple[float, float]:
        """Of four scores, 25 masks each, all of them right or wrong."""
        scores = np.repeat([0.9, 0.7, 0.5, 0.3][: len(right)], 25)
        chosen = choose_or_half(scores, np.repeat(right, 25), objects=100, images=4, precision=precision, iou=0.85)
        return chosen.threshold, chosen.stated_precision

    assert choose(True, True, True, True) == (0.3, 0.8)
    assert choose(True, True, True, False) == (0.5, 0.8)
    assert choose(False, True, True, False) == (0.5, LEAST_KEPT), "50 of 75 are surely half, 50 of 100 are not"
    assert choose(False, True, True, True) == (0.3, LEAST_KEPT)
    assert choose(False, False, True, False) == (NOTHING_PASSES, LEAST_KEPT)
    assert choose(False, False, True, True, precision=0.4) == (0.3, 0.4)


def test_threshold_by_hand() -> None:
    # Ten masks of each score. Wilson bounds, down from the best: .859 of 10 / 10, .924 of 20 / 20, .550 of 20 / 30,
    # .654 of 30 / 40, .509 of 30 / 50.
    scores, right = np.repeat([0.9, 0.3, 0.7, 0.5, 0.1], 10), np.repeat([True, True, True, False, False], 10)
    chosen = choose_threshold(scores, right, objects=60, images=2, precision=0.65)
    assert (chosen.threshold, chosen.precision, chosen.recall) == (0.3, 0.75, 0.5)
    assert (chosen.masks, chosen.right, chosen.objects, chosen.images) == (40, 30, 60, 2)
    assert choose_threshold(scores, right, objects=60, images=2, precision=0.66).threshold == 0.7
    assert choose_threshold(scores, right, objects=60, images=2, precision=0.1).threshold == 0.1
    assert "threshold 0.300: precision 0.75 at IoU 0.5, recall 0.50 on 2 held-out images" in chosen.summary()


def test_nothing_passes_where_no_threshold_is_surely_good_enough() -> None:
    for scores, right in (([0.9, 0.8], [False, True]), ([0.9], [True]), ([], [])):
        chosen = choose_threshold(scores, right, objects=3, images=1, precision=0.8)
        assert chosen.threshold == NOTHING_PASSES
        assert not chosen.reached
        assert (chosen.precision, chosen.recall, chosen.masks) == (None, 0.0, 0)
        assert "no threshold surely has precision 0.8" in chosen.summary()
        assert "nothing is prefilled" in chosen.summary()
    assert choose_threshold([], [], objects=0, images=1, precision=0.8).recall is None


@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=40),
    st.floats(0.01, 0.99),
)
def test_what_passes_has_at_least_the_stated_precision(masks: list[tuple[int, bool]], stated: float) -> None:
    scores, right = np.array([score / 8 for score, _ in masks]), np.array([hit for _, hit in masks], dtype=bool)
    chosen = choose_threshold(scores, right, objects=50, images=3, precision=stated)

    def precision(threshold: float) -> float:
        return float(right[scores >= threshold].mean())

    if chosen.reached:
        assert precision(chosen.threshold) >= stated
        assert chosen.precision == precision(chosen.threshold)
        assert chosen.masks == (scores >= chosen.threshold).sum()
        assert chosen.right == right[scores >= chosen.threshold].sum()
    else:
        assert not (scores >= chosen.threshold).any()
    json.dumps(chosen.__dict__, allow_nan=False)


def test_masks_come_best_first_and_differ(predictor: Predictor, detector: ObjectDetector) -> None:
    settings = replace(ANY_MASK, mask_nms_thresh=0.7)
    found = scored_masks(predictor, detector, settings)
    assert 1 < len(found) < len(scored_masks(predictor, detector, ANY_MASK))
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    rles = [each.mask.rle for each in found]
    overlap = rle_codec.iou_matrix(rles, rles) - np.eye(len(rles))
    assert overlap.max() <= settings.mask_nms_thresh
    height, width = predictor.image_hw
    for mask, score in found:
        assert 0 <= score <= mask.predicted_iou <= 1
        assert mask.area == rle_codec.area(mask.rle) > 0
        assert (mask.area, mask.box) == (rle_codec.area(mask.rle), rle_codec.box(mask.rle))
        assert mask.crop_box == (0, 0, width, height)
        assert mask.prompt.points == ()
        assert mask.prompt.box is not None
        x0, y0, x1, y1 = mask.prompt.box
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


def test_a_threshold_only_cuts_the_list_off(predictor: Predictor, detector: ObjectDetector) -> None:
    found = scored_masks(predictor, detector, ANY_MASK)
    for least in (found[0].score, found[len(found) // 2].score, found[-1].score):
        expected = [each.mask.rle for each in found if each.score >= least]
        assert [mask.rle for mask in prefill(predictor, detector, threshold=least, settings=ANY_MASK)] == expected
    assert prefill(predictor, detector, threshold=NOTHING_PASSES, settings=ANY_MASK) == []


@pytest.mark.parametrize(
    "limit", [{"max_masks": 2}, {"max_boxes": 2}, {"max_masks": 0}, {"max_boxes": 0}], ids=lambda limit: str(limit)
)
def test_limits_hold(predictor: Predictor, detector: ObjectDetector, limit: dict[str, int]) -> None:
    found = scored_masks(predictor, detector, replace(ANY_MASK, **limit))  # type: ignore[arg-type]
    assert len(found) <= next(iter(limit.values()))
    if "max_masks" in limit:
        assert found == scored_masks(predictor, detector, ANY_MASK)[: limit["max_masks"]]


def test_settings_are_those_of_the_stages_generator() -> None:
    """A hundred boxes; of two masks more alike than an IoU of a half the better stays."""
    generator = {
        "stability_score_thresh": 0.7,
        "stability_score_offset": 0.3,
        "min_mask_region_area": 9,
        "drop_small_masks": True,
        "max_mask_area_frac": 0.6,
    }
    config = SemiAutomaticConfig.model_validate({"max_prefilled_masks": 4, "generator": generator})
    assert PrefillSettings.of(config) == PrefillSettings(
        4, **generator, max_boxes=100, box_nms_thresh=0.7, mask_nms_thresh=0.5, filters={}
    )


def test_unstable_and_small_and_huge_masks_are_left_out(predictor: Predictor, detector: ObjectDetector) -> None:
    masks = [found.mask for found in scored_masks(predictor, detector, ANY_MASK)]

    def kept(**settings: Any) -> list[Any]:
        return [found.mask for found in scored_masks(predictor, detector, replace(ANY_MASK, **settings))]

    middle = float(np.median([mask.stability_score for mask in masks]))
    stable = kept(stability_score_thresh=middle)
    assert 0 < len(stable) < len(masks)
    assert all(mask.stability_score >= middle for mask in stable)
    image_area = math.prod(predictor.image_hw)
    share = float(np.median([mask.area for mask in masks])) / image_area
    smaller = kept(max_mask_area_frac=share)
    assert smaller
    assert all(mask.area < share * image_area for mask in smaller)
    assert all(mask.area >= 60 for mask in kept(min_mask_region_area=60, drop_small_masks=True))
    assert kept(min_mask_region_area=10**6), "the largest region of each stays"
    assert kept(min_mask_region_area=10**6, drop_small_masks=True) == []


def test_the_detector_is_asked_for_what_can_still_become_a_mask(
    predictor: Predictor, detector: ObjectDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mask's score is never above its box's; boxes of less than .05 show nothing."""
    asked: list[dict[str, Any]] = []
    detect = detector.detect

    def watched(encoded: Any, **limits: Any) -> Detections:
        asked.append(limits)
        return detect(encoded, **limits)

    monkeypatch.setattr(detector, "detect", watched)
    for least in (0.0, 0.04, 0.06, 0.9):
        scored_masks(predictor, detector, ANY_MASK, least_score=least)
    scored_masks(predictor, detector, ANY_MASK)
    assert [limits["min_score"] for limits in asked] == [0.05, 0.05, 0.06, 0.9, 0.05]
    assert {limits["max_boxes"] for limits in asked} == {1000}, "ten times what is prompted: most are near duplicates"


def boxes_in_rows(count: int) -> Detections:
    """Boxes that do not overlap, of falling scores."""
    places = torch.arange(count)
    corners = torch.stack([places % 12 * 4, places // 12 * 4], 1).float()
    return Detections(torch.cat([corners, corners + 3], 1), torch.linspace(1, 0.5, count))


def test_boxes_prompt_thirty_two_at_a_time_and_each_says_which_it_was(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    prompt = predictor.prompt
    monkeypatch.setattr(
        predictor, "prompt", lambda *, boxes: (sizes.append(len(boxes)), prompt(boxes=boxes))[1], raising=False
    )
    found = boxes_in_rows(70)
    masks = masks_of_boxes(predictor, found, replace(ANY_MASK, max_masks=99, mask_nms_thresh=1.0))
    assert sizes == [32, 32, 6]
    assert len(masks) > 40
    whole = predictor.prompt(boxes=found.boxes)
    best = whole.predicted_iou.max(dim=1).values.clamp(0, 1)
    of_box = {tuple(box): row for row, box in enumerate(found.boxes.tolist())}
    for mask, score in masks:
        row = of_box[mask.prompt.box]
        assert mask.predicted_iou == pytest.approx(float(best[row]), abs=1e-5)
        assert score == pytest.approx(float(best[row] * found.scores[row]), abs=1e-5)
        assert mask.origin == "automatic"


def square(x0: int, y0: int, x1: int, y1: int) -> Any:
    pixels = np.zeros((48, 56), dtype=bool)
    pixels[y0:y1, x0:x1] = True
    return rle_codec.measured(rle_codec.encode(pixels))


def test_of_masks_alike_the_better_stays_and_the_best_come_first(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three boxes, of which the model makes these masks: one pixel wide and alike, and another."""
    shown = [square(3, 3, 4, 9), square(3, 3, 4, 8), square(20, 20, 30, 30)]
    iou = torch.tensor([0.5, 1.0, 0.9])
    monkeypatch.setattr(stages.prefill, "_prompt", lambda *_: (torch.zeros(3, 16, 16), iou))
    monkeypatch.setattr(
        stages.prefill, "_stable_masks", lambda _p, _l, rows, *_: [(row, shown[row]) for row in rows.tolist()]
    )
    boxes = Detections(boxes_in_rows(3).boxes, torch.tensor([1.0, 0.9, 0.5]))

    def found(**changes: Any) -> list[tuple[Any, float]]:
        least = changes.pop("least_score", 0.0)
        chosen = masks_of_boxes(predictor, boxes, replace(ANY_MASK, **changes), least_score=least)
        return [(each.mask, pytest.approx(each.score)) for each in chosen]

    assert found(mask_nms_thresh=0.8) == [(shown[1], 0.9), (shown[2], 0.45)]
    assert found(mask_nms_thresh=0.84) == [(shown[1], 0.9), (shown[0], 0.5), (shown[2], 0.45)]
    assert found(mask_nms_thresh=0.84, max_masks=2) == [(shown[1], 0.9), (shown[0], 0.5)]
    assert found(mask_nms_thresh=0.84, least_score=0.5) == [(shown[1], 0.9), (shown[0], 0.5)]
    assert found(mask_nms_thresh=0.84, least_score=0.95) == []


def test_nearly_the_whole_picture_is_no_object() -> None:
    settings = replace(ANY_MASK, max_mask_area_frac=0.5)
    for columns, kept in ((27, True), (28, False), (29, False)):  # of 56
        mask = square(0, 0, columns, 48)
        assert (stages.prefill._cleaned(mask.rle, (0, 0, columns - 1, 47), settings) is not None) == kept


def test_small_regions_go_and_masks_that_are_nothing_else_where_that_is_asked_for() -> None:
    pixels = rle_codec.decode(square(10, 10, 14, 14).rle)
    pixels[30:32, 30:32] = True
    pixels[11, 11] = False
    mask = rle_codec.encode(pixels)

    def cleaned(least: int, *, drop: bool = False) -> Rle | None:
        settings = replace(ANY_MASK, min_mask_region_area=least, drop_small_masks=drop)
        return stages.prefill._cleaned(mask, (10, 10, 31, 31), settings)

    assert cleaned(0) == cleaned(0, drop=True) == mask
    filled = rle_codec.decode(mask)
    filled[11, 11] = True
    assert cleaned(2) == rle_codec.encode(filled), "a hole of a pixel"
    assert cleaned(5) == cleaned(16, drop=True) == square(10, 10, 14, 14).rle
    assert cleaned(17, drop=True) is None
    assert cleaned(17) is not None, "the largest region stays"


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
