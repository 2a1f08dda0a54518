import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.masks import nms as nms_module
from engine.masks.nms import box_nms
from tests.peers import torchvision_standin

coordinates = st.integers(0, 12)
boxes_and_scores = st.lists(
    st.tuples(coordinates, coordinates, coordinates, coordinates, st.sampled_from([0.1, 0.5, 0.5, 0.9])), max_size=14
)


def nms(boxes: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    found = box_nms(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(scores), iou_threshold=threshold
    )
    assert found.dtype == torch.int64
    return found.tolist()


def naive_nms(boxes: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    """One box after the other, by the definition."""
    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[better], boxes[index]) <= threshold for better in kept):
            kept.append(index)
    return kept


def iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return float(np.float32(intersection) / np.float32(union)) if union else 0.0


@given(boxes_and_scores, st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.7, 0.9, 1.0]))
def test_same_boxes_as_the_definition(given_boxes: list[tuple[float, ...]], threshold: float) -> None:
    boxes = [[min(x, u), min(y, v), max(x, u), max(y, v)] for x, y, u, v, _ in given_boxes]
    scores = [score for *_, score in given_boxes]
    assert nms(boxes, scores, threshold) == naive_nms(boxes, scores, threshold)


@given(boxes_and_scores, st.sampled_from([0.0, 0.5, 0.7, 1.0]), st.integers(0, 2**20), st.sampled_from([1, 2, 32]))
def test_those_that_may_not_stay_suppress_nothing(
    given_boxes: list[tuple[float, ...]], threshold: float, seed: int, at_once: int
) -> None:
    boxes = torch.tensor([[min(x, u), min(y, v), max(x, u), max(y, v)] for x, y, u, v, _ in given_boxes]).reshape(-1, 4)
    scores = torch.tensor([score for *_, score in given_boxes])
    may_stay = torch.rand(len(boxes), generator=torch.Generator().manual_seed(seed)) < 0.6
    asked: list[int] = []

    def admit(rows: Tensor) -> Tensor:
        asked.extend(rows.tolist())
        return may_stay[rows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms_module, "ADMITTED_AT_ONCE", at_once)
        found = box_nms(boxes, scores, iou_threshold=threshold, admit=admit)
    index = may_stay.nonzero().squeeze(1)
    assert found.tolist() == index[box_nms(boxes[index], scores[index], iou_threshold=threshold)].tolist()
    assert len(set(asked)) == len(asked)  # none twice
    if at_once == 1:  # nothing in vain
        assert may_stay[asked].sum() == len(found)


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.7])
def test_same_boxes_as_torchvision(threshold: float) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 20, (300, 2))
    boxes = torch.tensor(np.hstack([corners, corners + rng.uniform(10, 40, (300, 2))]), dtype=torch.float32)
    scores = torch.tensor(rng.integers(80, 100, 300) / 100, dtype=torch.float32)
    found = box_nms(boxes, scores, iou_threshold=threshold)
    assert found.tolist() == torchvision_standin.nms(boxes, scores, threshold).tolist()
    assert 10 < len(found) < 300


def test_order_by_hand() -> None:
    a, a_moved, far, farther = [0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [80, 80, 90, 90]
    assert nms([a, a_moved, far], [0.5, 0.9, 0.7], 0.7) == [1, 2]
    assert nms([far, a, farther, a_moved], [0.5, 0.5, 0.5, 0.5], 0.7) == [0, 1, 2]  # of equals the first, in order


def test_a_suppressed_box_suppresses_nothing() -> None:
    # Each overlaps the next by 7/13; the middle one goes, and with it its hold on the third.
    chain = [[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]]
    assert nms(chain, [0.9, 0.8, 0.7], 0.5) == [0, 2]


def test_an_overlap_on_the_threshold_is_compared_in_double_precision() -> None:
    box = [0, 0, 10, 10]
    assert nms([box, [0, 0, 10, 7]], [0.9, 0.8], 0.7) == [0, 1]  # float32(0.7) lies below 0.7: stays
    assert nms([box, [0, 0, 10, 6]], [0.9, 0.8], 0.6) == [0]  # float32(0.6) lies above 0.6: goes


def test_boxes_without_area_do_not_suppress_each_other() -> None:
    assert nms([[5, 5, 5, 9], [5, 5, 5, 9]], [0.9, 0.8], 0.0) == [0, 1]


def test_no_boxes() -> None:
    assert nms([], [], 0.7) == []
