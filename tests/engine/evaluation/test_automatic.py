"""Automatic masks against ground truth, with figures worked out by hand."""

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.evaluation.automatic import (
    NOTHING,
    AutomaticScores,
    evaluate_automatic,
    evaluate_main_objects,
    score_masks,
)
from model.training.samples import Sample
from schemas.rle import Rle
from tests.engine.evaluation.fakes import coco_rle, rectangle

IMAGE = np.zeros((64, 64, 3), np.uint8)
SMALL, LARGE = rectangle(slice(0, 8), slice(0, 8)), rectangle(slice(20, 60), slice(20, 60))
NEARLY = rectangle(slice(20, 60), slice(20, 50))  # 3/4 of the large one


def find(image: np.ndarray) -> list[Rle]:
    """A part of the large object, the object, and something else."""
    return [rle_codec.encode(mask) for mask in (NEARLY, LARGE, rectangle(slice(0, 4), slice(40, 60)))]


def test_each_object_is_found_once_and_the_rest_counts_as_wrong() -> None:
    sample = Sample(IMAGE, [coco_rle(SMALL), coco_rle(LARGE)])
    scores = evaluate_automatic(find, [sample, sample])
    assert scores == AutomaticScores(masks=6, right=2, objects=4, images=2)
    assert (scores.precision, scores.recall, scores.masks_per_image) == (2 / 6, 2 / 4, 3)
    assert scores.f_measure == pytest.approx(2 / (1 / scores.precision + 1 / scores.recall))


def test_at_a_higher_iou_the_whole_object_is_right_and_its_part_is_not() -> None:
    masks = [rle_codec.encode(NEARLY), rle_codec.encode(LARGE)]
    assert score_masks(masks[:1], [rle_codec.encode(LARGE)], iou=0.75).right == 1
    assert score_masks(masks[:1], [rle_codec.encode(LARGE)], iou=0.76).right == 0
    assert score_masks(masks, [rle_codec.encode(LARGE)], iou=0.76).right == 1


def test_nothing_found_and_nothing_to_find_are_no_errors() -> None:
    assert (NOTHING.precision, NOTHING.recall, NOTHING.f_measure, NOTHING.masks_per_image) == (0, 0, 0, 0)
    assert score_masks([], [rle_codec.encode(LARGE)]) == AutomaticScores(0, 0, 1, 1)
    assert AutomaticScores(1, 1, 2, 1).summary()["recall"] == 0.5


def test_the_main_object_is_the_largest_and_is_found_by_the_mask_most_like_it() -> None:
    alone = Sample(IMAGE, [coco_rle(SMALL)])
    scores = evaluate_main_objects(find, [Sample(IMAGE, [coco_rle(SMALL), coco_rle(LARGE)]), alone])
    assert scores is not None
    assert scores.confident.tolist() == [1, 0]
    assert scores.found_frac(0.75) == 0.5
    assert evaluate_main_objects(lambda image: [], [alone]).confident.tolist() == [0]  # type: ignore[union-attr]
    assert evaluate_main_objects(find, []) is None
