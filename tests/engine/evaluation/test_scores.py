import numpy as np
import pytest

from engine.evaluation.scores import mask_iou


def test_iou_by_hand() -> None:
    first, second = np.array([[1, 1, 0, 0]], dtype=bool), np.array([[0, 1, 1, 0]], dtype=bool)
    assert mask_iou(first, second) == pytest.approx(1 / 3)
    assert mask_iou(first & second & False, first & False) == 0
