from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine import rle
from engine.masks import overlaps
from engine.masks.overlaps import box_intersections, coverage_frac, mask_areas, mask_nms
from model.geometry import mask_boxes
from schemas.errors import InputError

SIZE = (9, 7)


@st.composite
def rectangles(draw: st.DrawFn) -> np.ndarray:
    """A rectangle with a few pixels flipped: near duplicates are common."""
    y0, x0 = draw(st.integers(0, SIZE[0] - 1)), draw(st.integers(0, SIZE[1] - 1))
    mask = np.zeros(SIZE, dtype=bool)
    mask[y0 : draw(st.integers(y0 + 1, SIZE[0])), x0 : draw(st.integers(x0 + 1, SIZE[1]))] = True
    for y, x in draw(st.lists(st.tuples(st.integers(0, SIZE[0] - 1), st.integers(0, SIZE[1] - 1)), max_size=2)):
        mask[y, x] ^= True
    return mask


masks_of_one_picture = st.lists(rectangles() | hnp.arrays(bool, SIZE), max_size=8)
scores_of_masks = st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=8, max_size=8)


def boxes_of(masks: Sequence[np.ndarray]) -> torch.Tensor:
    return mask_boxes(torch.as_tensor(np.reshape(masks, (-1, *SIZE)).astype(bool)))


def nms(masks: Sequence[np.ndarray], scores: Sequence[float], threshold: float) -> list[int]:
    rles = [rle.encode(mask) for mask in masks]
    found = mask_nms(rles, boxes_of(masks), torch.tensor(scores[: len(masks)]), iou_threshold=threshold)
    assert found.dtype == torch.int64
    return found.tolist()


def naive_nms(masks: Sequence[np.ndarray], scores: Sequence[float], threshold: float) -> list[int]:
    """One mask after the other, by the definition."""
    kept: list[int] = []
    for index in sorted(range(len(masks)), key=lambda i: -scores[i]):
        if all(iou(masks[better], masks[index]) <= threshold for better in kept):
            kept.append(index)
    return kept


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def strip(start: int, end: int) -> np.ndarray:
    """Rows start to end, right exclusive, of the first column."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[start:end, 0] = True
    return mask


@given(masks_of_one_picture, scores_of_masks, st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.75, 0.9, 1.0]))
def test_same_masks_as_the_definition(masks: list[np.ndarray], scores: list[float], threshold: float) -> None:
    assert nms(masks, scores, threshold) == naive_nms(masks, scores, threshold)


@given(masks_of_one_picture, scores_of_masks)
def test_at_threshold_one_all_stay_best_first(masks: list[np.ndarray], scores: list[float]) -> None:
    assert nms(masks, scores, 1.0) == sorted(range(len(masks)), key=lambda i: -scores[i])


@given(masks_of_one_picture, scores_of_masks, st.sampled_from([0.25, 0.5, 0.8]))
def test_what_stays_has_no_duplicates_and_what_goes_is_one(
    masks: list[np.ndarray], scores: list[float], threshold: float
) -> None:
    kept = nms(masks, scores, threshold)
    assert all(iou(masks[a], masks[b]) <= threshold for a in kept for b in kept if a != b)
    for gone in set(range(len(masks))) - set(kept):
        assert any(iou(masks[gone], masks[one]) > threshold and scores[one] >= scores[gone] for one in kept)


def test_near_duplicates_whose_boxes_differ_by_hand() -> None:
    """A far pixel makes the boxes overlap by 12 of 63 pixels, the masks by 12 of 13."""
    body = np.zeros(SIZE, dtype=bool)
    body[:4, :3] = True
    with_island = body.copy()
    with_island[8, 6] = True
    other = np.zeros(SIZE, dtype=bool)
    other[6:, :2] = True
    assert nms([body, other, with_island], [0.8, 0.7, 0.9], 0.9) == [2, 1]
    assert nms([body, other, with_island], [0.8, 0.7, 0.9], 0.95) == [2, 0, 1]


def test_of_equals_the_first_stays_and_order_is_kept() -> None:
    assert nms([strip(0, 4), strip(5, 9), strip(0, 4)], [0.5, 0.5, 0.5], 0.7) == [0, 1]
    assert nms([strip(5, 9), strip(0, 4), strip(0, 4)], [0.5, 0.5, 0.9], 0.7) == [2, 0]


def test_a_suppressed_mask_suppresses_nothing() -> None:
    # Each overlaps the next by 3/5; the middle one goes, and with it its hold on the third.
    assert nms([strip(0, 4), strip(1, 5), strip(2, 6)], [0.9, 0.8, 0.7], 0.5) == [0, 2]


def test_an_overlap_on_the_threshold_stays() -> None:
    assert nms([strip(0, 4), strip(1, 5)], [0.9, 0.8], 0.6) == [0, 1]
    assert nms([strip(0, 4), strip(1, 5)], [0.9, 0.8], 0.5999) == [0]


def test_empty_masks_stay() -> None:
    empty = np.zeros(SIZE, dtype=bool)
    assert nms([empty, empty, strip(0, 1)], [0.9, 0.8, 0.7], 0.0) == [0, 1, 2]


def test_no_masks() -> None:
    assert nms([], [], 0.7) == []


def test_only_close_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    iou_matrix = rle.iou_matrix
    monkeypatch.setattr(
        overlaps.rle, "iou_matrix", lambda a, b: (compared.append((len(a), len(b))), iou_matrix(a, b))[1]
    )
    far, larger, close = strip(6, 9), strip(0, 5), strip(0, 4)
    # The area alone says that strip(0, 2) cannot overlap the others by half.
    assert nms([far, larger, strip(0, 2), close], [0.6, 0.9, 0.8, 0.7], 0.5) == [1, 2, 0]
    assert compared == [(1, 1)]


def test_coverage_by_hand() -> None:
    top, corner = np.zeros((4, 5), dtype=bool), np.zeros((4, 5), dtype=bool)
    top[0] = True
    corner[:2, :2] = True
    assert coverage_frac([]) == 0
    assert coverage_frac([rle.encode(top)]) == 5 / 20
    assert coverage_frac([rle.encode(top), rle.encode(corner)]) == 7 / 20
    assert coverage_frac([rle.encode(top), rle.encode(~top)]) == 1


@given(masks_of_one_picture)
def test_coverage_is_the_share_of_the_union(masks: list[np.ndarray]) -> None:
    union = np.logical_or.reduce(masks) if masks else np.zeros(SIZE, dtype=bool)
    assert coverage_frac([rle.encode(mask) for mask in masks]) == union.sum() / union.size


def test_coverage_of_masks_of_several_sizes_is_an_error() -> None:
    with pytest.raises(InputError, match=r"one size, these have \[\(2, 3\), \(3, 2\)\]"):
        coverage_frac([rle.encode(np.ones((2, 3), dtype=bool)), rle.encode(np.ones((3, 2), dtype=bool))])


def test_areas_of_more_masks_than_a_byte_counts() -> None:
    masks = [strip(0, count % 9) for count in range(600)]
    assert mask_areas([rle.encode(mask) for mask in masks]).tolist() == [count % 9 for count in range(600)]


@given(masks_of_one_picture.filter(bool))
def test_boxes_share_the_pixels_that_lie_in_both(masks: list[np.ndarray]) -> None:
    boxes = boxes_of(masks).numpy()
    filled = np.zeros((len(masks), *SIZE), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(filled, boxes, strict=True):
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    assert box_intersections(boxes[0], boxes).tolist() == (filled & filled[0]).sum(axis=(1, 2)).tolist()
