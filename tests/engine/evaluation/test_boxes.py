"""Boxes as prompts: the tight box is what is asked, and the answers are scored as they should be."""

import numpy as np
import pytest

from engine.evaluation.boxes import evaluate_boxes, tight_box
from model.predictor import Predictor
from model.training.samples import Sample
from tests.engine.evaluation.fakes import ThreeHalves, coco_rle, rectangle


def test_the_box_is_tight_and_inclusive() -> None:
    assert tight_box(rectangle(slice(3, 7), slice(10, 30))) == (10, 3, 29, 6)
    with pytest.raises(ValueError, match="empty mask"):
        tight_box(np.zeros((4, 4), dtype=bool))


def test_a_box_gets_three_masks_and_both_choices_are_scored() -> None:
    model = ThreeHalves()
    truth = rectangle(slice(16, 48), slice(16, 48))
    scores = evaluate_boxes(Predictor(model), [Sample(np.zeros((64, 64, 3), np.uint8), [coco_rle(truth)])])
    assert scores is not None
    assert scores.confident_miou == pytest.approx(0.5, abs=0.05)
    assert scores.oracle_miou > 0.9
    assert scores.predicted_iou_error == pytest.approx(0.4, abs=0.05)
    assert [box.tolist() for box in model.boxes] == [[16.0, 16.0, 47.0, 47.0]]


def test_samples_without_masks_give_no_scores() -> None:
    assert evaluate_boxes(Predictor(ThreeHalves()), [Sample(np.zeros((8, 8, 3), np.uint8), [])]) is None
