"""Boundaries of pictures that people cut into regions, as BSDS500 has them."""

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from engine.evaluation.thinning import thinned
from model.training.samples import Sample, decode_masks
from schemas.errors import InputError
from schemas.rle import CocoRle

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int64]


def annotated_boundaries(sample: Sample) -> list[Mask]:
    """The boundaries (H, W) that each annotator of a picture drew; what no region covers is one more region.

    Raises InputError where regions of one annotator overlap.
    """
    of_each: dict[str, list[CocoRle]] = defaultdict(list)
    for mask, facts in zip(sample.masks, sample.known_facts, strict=True):
        of_each[facts.annotator].append(mask)
    return [boundaries_of(_labels(masks, sample.name, annotator)) for annotator, masks in of_each.items()]


def boundaries_of(labels: Labels) -> Mask:
    """Where regions (H, W) end: pixels that differ from the next to the right, below or across from it; thinned."""
    ends = np.zeros(labels.shape, dtype=bool)
    ends[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    ends[:-1] |= labels[:-1] != labels[1:]
    ends[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return thinned(ends)


def _labels(masks: list[CocoRle], name: str, annotator: str) -> Labels:
    decoded = decode_masks(masks)
    if (decoded.sum(axis=2) > 1).any():
        whose = f"of annotator {annotator!r}" if annotator else "without `annotator`"
        raise InputError(
            f"{name}: regions {whose} overlap; edges need pictures cut into regions, with `annotator` in each "
            "annotation where several people did"
        )
    labels: Labels = decoded @ np.arange(1, len(masks) + 1)
    return labels
