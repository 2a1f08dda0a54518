"""mIoU by groups, by hand."""

import numpy as np
import pytest

from engine.evaluation.groups import (
    Group,
    LabelledScores,
    disjoint,
    group_notes,
    group_rows,
    group_scores,
    groups_by_column,
    score_labelled,
)
from engine.quality.audit import Estimate
from model.predictor import Predictor
from model.training.samples import Sample
from tests.engine.evaluation.fakes import ThreeHalves, coco_rle, rectangle


def scores(pictures: list[int], ious: list[float]) -> LabelledScores:
    return LabelledScores(np.arange(len(ious)), np.array(pictures), {1: np.array(ious), 3: np.array([0.9] * len(ious))})


def test_means_are_over_masks_and_intervals_over_pictures() -> None:
    labels = {0: {"age": "young"}, 1: {"age": "young"}, 2: {"age": "young"}, 3: {"age": "old"}, 4: {"age": ""}}
    young, old = reversed(group_scores(scores([0, 0, 1, 2, 3], [0.2, 0.4, 0.9, 0.7, 0.1]), labels, "age"))
    assert (young.name, young.masks, young.pictures) == ("young", 3, 2)
    assert young.mean[1] == pytest.approx(0.5)
    found = young.miou[1]
    assert found is not None
    assert found.value == pytest.approx(0.5)
    # Of two pictures, the first (mean 0.3) or the second (0.9) may be drawn twice.
    assert found.low < 0.35
    assert found.high > 0.7
    assert (old.masks, old.mean[1], old.miou[1]) == (1, pytest.approx(0.7), None)
    assert group_rows([old]) == (("old", "1", "1", "0.700", "0.900"),)


def test_equal_masks_have_an_interval_of_no_width() -> None:
    (group,) = group_scores(scores([0, 1, 2], [0.5] * 3), {key: {"a": "x"} for key in range(3)}, "a")
    assert group.miou[3] == Estimate(pytest.approx(0.9), pytest.approx(0.9), pytest.approx(0.9))


def group(name: str, low: float | None, high: float = 0.0) -> Group:
    found = None if low is None else Estimate((low + high) / 2, low, high)
    return Group(name, 9, 9, {1: 0.5}, {1: found, 3: None})


def test_intervals_that_touch_are_not_disjoint() -> None:
    groups = [group("a", 0.5, 0.6), group("b", 0.6, 0.7), group("c", 0.1, 0.4), group("d", None)]
    assert disjoint(groups, 1) == [("a", "c"), ("b", "c")]
    assert disjoint(groups[::-1], 1) == [("b", "c"), ("a", "c")]
    assert disjoint([group("a", None), group("b", 0.1, 0.2)], 1) == []
    lines = group_notes("x", groups, {1: {"x": "e"}, 2: {"x": ""}}, where="it")
    assert lines == [
        "x, e: no mask in it.",
        "x, 1 point: disjoint intervals: a over c, b over c.",
        "x, 3 points: disjoint intervals: none.",
    ]


def test_every_mask_is_clicked_and_keeps_its_id_and_picture() -> None:
    encoded = coco_rle(rectangle(slice(16, 48), slice(16, 48)))
    image = np.zeros((64, 64, 3), np.uint8)
    found = score_labelled(
        Predictor(ThreeHalves()), [(Sample(image, [encoded, encoded]), [7, 8]), (Sample(image, [encoded]), [5])]
    )
    assert found is not None
    assert found.mask_ids.tolist() == [7, 8, 5]
    assert found.pictures.tolist() == [0, 0, 1]
    assert found.ious[1] == pytest.approx([0.5] * 3, abs=0.05)
    assert (found.ious[3] > 0.9).all()
    labels = {7: {"a": "x", "b": "z"}, 8: {"a": "y"}, 5: {"a": "y"}}
    by_column = groups_by_column(found, labels)
    assert {column: [one.masks for one in its] for column, its in by_column.items()} == {"a": [1, 2], "b": [1]}
    assert score_labelled(Predictor(ThreeHalves()), []) is None
