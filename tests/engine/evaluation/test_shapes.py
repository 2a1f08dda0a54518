"""Borders, edges and islands, with figures worked out by hand."""

import numpy as np
import pytest

from engine.evaluation.scores import mask_iou
from engine.evaluation.shapes import boundary_iou, edges_reached, evaluate_shapes, island_frac
from model.predictor import Predictor
from model.training.samples import Sample
from tests.engine.evaluation.fakes import ThreeHalves, coco_rle, rectangle


def test_boundary_iou_by_hand() -> None:
    """64 x 64: the diagonal is 90.5 px, 2 % of it is 1.8, so that a border is 2 px wide."""
    first, second = rectangle(slice(10, 30), slice(10, 30)), rectangle(slice(10, 30), slice(11, 31))
    # A frame of 20 x 20 less its 16 x 16 middle has 144 px. One column further the two frames share 20 - 1 columns of
    # their upper and lower 2 rows, 76 px, and of the 16 rows between them column 11 and column 28: 32 px.
    assert boundary_iou(first, second) == pytest.approx(108 / (144 + 144 - 108))
    assert boundary_iou(first, first) == 1
    assert boundary_iou(first, rectangle(slice(40, 50), slice(40, 50))) == 0
    assert boundary_iou(np.zeros((8, 8), bool), np.zeros((8, 8), bool)) == 0


def test_a_wrong_middle_costs_little_and_a_wrong_border_much() -> None:
    truth = rectangle(slice(8, 56), slice(8, 56))
    smaller = rectangle(slice(10, 54), slice(10, 54))
    assert boundary_iou(smaller, truth) == 0, "two pixels off all around, as wide as the border"
    assert mask_iou(smaller, truth) == pytest.approx(44**2 / 48**2)


def test_the_picture_edge_is_a_border_and_a_border_is_at_least_a_pixel() -> None:
    whole = np.ones((10, 10), bool)
    # 2 % of 14.1 px is .28: one pixel, and a ring of 36 of the 100.
    inner = whole.copy()
    inner[0] = False
    # Rings of 10 x 10 and of 10 x 9, which is 34 px: in common are 9 px of the left, 9 of the right, 8 of the bottom.
    assert boundary_iou(whole, inner) == pytest.approx(26 / (36 + 34 - 26))
    assert boundary_iou(whole, whole) == 1


def test_edges_are_reached_within_two_pixels() -> None:
    assert edges_reached(rectangle(slice(2, 61), slice(3, 62)), within_px=2) == (False, True, True, False)
    assert edges_reached(rectangle(slice(2, 61), slice(3, 62)), within_px=0) == (False, False, False, False)
    assert edges_reached(rectangle(slice(0, 1), slice(0, 64)), within_px=0) == (True, True, True, False)


def test_islands_are_parts_below_a_hundredth_of_the_mask() -> None:
    mask = rectangle(slice(0, 20), slice(0, 20))
    assert island_frac(mask) == 0
    mask[40, 40] = mask[41, 41] = True  # one part: corners touch
    assert island_frac(mask) == pytest.approx(2 / 402)
    mask[50:52, 50:52] = True  # 4 of 406 are under a hundredth too, 5 of 407 are not
    assert island_frac(mask) == pytest.approx(6 / 406)
    mask[52, 52] = True
    assert island_frac(mask) == pytest.approx(2 / 407)
    assert island_frac(np.zeros((4, 4), bool)) == 0


def test_the_confident_mask_of_each_box_is_looked_at() -> None:
    """The model's confident answer is the left half of rectangle(16:48, 16:48), whatever the box."""
    image = np.zeros((64, 64, 3), np.uint8)
    inside, left_edge = rectangle(slice(16, 48), slice(16, 32)), rectangle(slice(16, 48), slice(0, 32))
    scores = evaluate_shapes(Predictor(ThreeHalves()), [Sample(image, [coco_rle(inside), coco_rle(left_edge)])])
    assert scores is not None
    assert scores.boundary_iou[0] > 0.9
    assert scores.boundary_iou[1] < 0.6
    assert scores.at_edge.tolist() == [False, True]
    assert scores.stops_short.tolist() == [False, True]
    assert scores.overshoots.tolist() == [False, False]
    assert scores.summary()["stops_short"] == 1
    assert scores.summary()["island_frac"] == 0


def test_samples_without_masks_give_no_scores() -> None:
    assert evaluate_shapes(Predictor(ThreeHalves()), [Sample(np.zeros((8, 8, 3), np.uint8), [])]) is None
