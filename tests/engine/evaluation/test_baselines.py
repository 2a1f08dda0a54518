"""The classical yardsticks find what classical methods find: a bright block on a dark ground."""

import numpy as np
import pytest

from engine.evaluation.baselines import felzenszwalb_at_points, grabcut, grabcut_from_boxes
from model.training.samples import Sample
from tests.engine.evaluation.fakes import coco_rle, rectangle

TRUTH = rectangle(slice(20, 44), slice(16, 50))


def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = rng.integers(20, 50, size=(64, 64, 3), dtype=np.uint8)
    image[TRUTH] = rng.integers(190, 220, size=(int(TRUTH.sum()), 3))
    return image


def test_felzenszwalb_finds_the_block_at_the_coarsest_scale_at_least() -> None:
    scores = felzenszwalb_at_points([Sample(picture(), [coco_rle(TRUTH)])])
    assert scores is not None
    assert scores.oracle_miou > 0.8
    assert scores.confident_miou <= scores.oracle_miou
    assert scores.predicted_iou_error is None


def test_grabcut_finds_the_block_in_its_box() -> None:
    scores = grabcut_from_boxes([Sample(picture(), [coco_rle(TRUTH)])])
    assert scores is not None
    assert scores.confident_miou == scores.oracle_miou == pytest.approx(1.0, abs=0.05)


def test_a_box_without_background_is_its_own_answer() -> None:
    assert grabcut(picture(), (0, 0, 63, 63)).all()


def test_grabcut_gives_the_same_twice() -> None:
    np.testing.assert_array_equal(grabcut(picture(), (10, 10, 55, 50)), grabcut(picture(), (10, 10, 55, 50)))


def test_samples_without_masks_give_no_scores() -> None:
    empty = [Sample(picture(), [])]
    assert felzenszwalb_at_points(empty) is None
    assert grabcut_from_boxes(empty) is None


def test_felzenszwalb_takes_the_segment_under_the_chosen_point() -> None:
    sample = Sample(picture(), [coco_rle(TRUTH)])
    at_centre = felzenszwalb_at_points([sample])
    outside = felzenszwalb_at_points([sample], choose=lambda _: (2, 2))
    assert at_centre is not None
    assert outside is not None
    assert outside.oracle_miou < 0.2 < at_centre.oracle_miou
