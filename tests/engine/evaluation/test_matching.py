"""Masks are given to objects as a person would: the best first, each object once."""

import numpy as np

from engine import rle as rle_codec
from engine.evaluation.matching import match_masks, matched_objects
from schemas.rle import Rle


def block(x: int, *, width: int = 4) -> Rle:
    mask = np.zeros((6, 20), dtype=bool)
    mask[1:5, x : x + width] = True
    return rle_codec.encode(mask)


def test_masks_are_matched_best_first_and_each_object_once() -> None:
    objects = [block(0), block(10)]
    assert match_masks([block(1), block(0), block(10), block(15)], objects) == [True, False, True, False]
    # IoU of neighbours by two columns: 8 / 24.
    assert match_masks([block(2)], objects) == [False]
    assert match_masks([block(2)], objects, iou=1 / 3) == [True]
    assert match_masks([], objects) == []
    assert match_masks([block(0)], []) == [False]


def test_a_mask_takes_the_object_it_shows_best() -> None:
    assert match_masks([block(1), block(0)], [block(0), block(1)]) == [True, True]


def test_each_mask_knows_its_object() -> None:
    overlaps = np.array([[0.6, 0.9, 0.0], [0.0, 0.8, 0.0], [0.7, 0.8, 0.0], [0.0, 0.0, 0.3]])
    assert matched_objects(overlaps) == [1, None, 0, None]
    assert matched_objects(overlaps, iou=0.3) == [1, None, 0, 2]
    assert matched_objects(np.array([[0.6, 0.6, 0.1]])) == [1], "of equal ones the last"
    assert matched_objects(np.zeros((2, 0))) == [None, None]
