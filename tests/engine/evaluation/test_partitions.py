"""Boundaries of regions, drawn by hand."""

import numpy as np
import pytest

from engine.evaluation.partitions import annotated_boundaries, boundaries_of
from model.training.samples import MaskFacts, Sample
from schemas.errors import InputError
from tests.engine.evaluation.fakes import coco_rle, rectangle

SIZE = (6, 8)
IMAGE = np.zeros((*SIZE, 3), np.uint8)
LEFT, RIGHT = rectangle(slice(0, 6), slice(0, 3), SIZE), rectangle(slice(0, 6), slice(3, 8), SIZE)
TOP, BOTTOM = rectangle(slice(0, 2), slice(0, 8), SIZE), rectangle(slice(2, 6), slice(0, 8), SIZE)


def of_annotators(*annotators: str) -> Sample:
    masks = [coco_rle(mask) for mask in (LEFT, RIGHT, TOP, BOTTOM)[: len(annotators)]]
    return Sample(IMAGE, masks, "a.jpg", facts=[MaskFacts(annotator) for annotator in annotators])


def test_a_boundary_is_the_last_pixel_before_the_next_region() -> None:
    labels = np.array([[1, 1, 2, 2]] * 3)
    np.testing.assert_array_equal(boundaries_of(labels), [[False, True, False, False]] * 3)
    np.testing.assert_array_equal(boundaries_of(labels.T), [[False] * 3, [True] * 3, [False] * 3, [False] * 3])
    assert not boundaries_of(np.ones((4, 4), dtype=np.int64)).any()


def test_a_corner_counts_and_lines_are_thin() -> None:
    labels = np.ones((4, 4), dtype=np.int64)
    labels[2:, 2:] = 2
    # The row above, the column to the left and the corner between them; thinning takes nothing of such a line but the
    # corner, whose two neighbours touch each other.
    found = boundaries_of(labels)
    assert found[1, 2:].all()
    assert found[2:, 1].all()
    assert found.sum() <= 5


def test_each_annotator_has_boundaries_of_its_own() -> None:
    first, second = annotated_boundaries(of_annotators("1", "1", "2", "2"))
    np.testing.assert_array_equal(first.nonzero()[1], [2] * 6)
    np.testing.assert_array_equal(second.nonzero()[0], [1] * 8)


def test_what_nobody_labelled_is_a_region() -> None:
    (boundaries,) = annotated_boundaries(of_annotators("1"))
    np.testing.assert_array_equal(boundaries.nonzero()[1], [2] * 6)


def test_overlapping_regions_of_one_annotator_are_an_error() -> None:
    with pytest.raises(InputError, match=r"a\.jpg: regions of annotator '1' overlap; edges need pictures cut into"):
        annotated_boundaries(of_annotators("1", "1", "1"))
    with pytest.raises(InputError, match="regions without `annotator` overlap"):
        annotated_boundaries(Sample(IMAGE, [coco_rle(LEFT), coco_rle(TOP)], "a.jpg"))
