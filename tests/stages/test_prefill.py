"""Prefilled masks: which boxes become masks, and in which order."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import stages.prefill
import stages.prefill_detector
from engine import rle as rle_codec
from model.object_detector import (
    Detections,
    ObjectDetector,
)
from model.predictor import Predictor
from schemas.config import SemiAutomaticConfig
from schemas.rle import Rle
from schemas.round_metrics import NOTHING_PASSES
from stages.prefill import PrefillSettings, masks_of_boxes, prefill, scored_masks

ANY_MASK = PrefillSettings(
    max_masks=40,
    stability_score_thresh=0.0,
    stability_score_offset=0.001,
    min_mask_region_area=0,
    drop_small_masks=False,
    max_mask_area_frac=1.0,
    mask_nms_thresh=0.95,
)


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
