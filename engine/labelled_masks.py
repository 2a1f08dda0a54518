"""What a picture shows by words: all of its masks of one label together are one mask."""

from pycocotools import mask as coco_mask

from model.text_prompts import usual_text
from model.training.samples import Sample
from schemas.rle import CocoRle


def masks_by_label(sample: Sample) -> dict[str, CocoRle]:
    """For each label of a picture the union of its masks and crowds, in the order of the labels' first masks.

    Labels are in lower case; masks without one are left out.
    """
    parts: dict[str, list[CocoRle]] = {}
    crowds = [(rle, facts.label) for rle, facts in sample.crowds]
    own = zip(sample.masks, (facts.label for facts in sample.known_facts), strict=True)
    for rle, label in (*own, *crowds):
        if label.strip():
            parts.setdefault(usual_text(label), []).append(rle)
    return {label: coco_mask.merge(rles, intersect=False) for label, rles in parts.items()}
