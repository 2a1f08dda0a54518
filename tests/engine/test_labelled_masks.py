"""Masks of one label together."""

import numpy as np
from pycocotools import mask as coco_mask

from engine.labelled_masks import masks_by_label
from model.training.samples import MaskFacts, Sample
from tests.engine.evaluation.fakes import coco_rle


def test_masks_and_crowds_of_a_label_are_one_mask() -> None:
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    parts = np.zeros((4, 4, 6), dtype=bool)
    for number in range(4):
        parts[number, number, : number + 1] = True
    rles = [coco_rle(part) for part in parts]
    facts = [MaskFacts(label="Car"), MaskFacts(label="tree"), MaskFacts(label="")]
    sample = Sample(image, rles[:3], facts=facts, crowds=[(rles[3], MaskFacts(label=" car "))])
    found = masks_by_label(sample)
    assert list(found) == ["car", "tree"]
    assert np.array_equal(coco_mask.decode(found["car"]).astype(bool), parts[0] | parts[3])
    assert np.array_equal(coco_mask.decode(found["tree"]).astype(bool), parts[1])
    assert masks_by_label(Sample(image, rles)) == {}
