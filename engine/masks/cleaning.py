"""Small regions of finished masks are cleaned, and duplicates that this makes are dropped (SAM paper, appendix B)."""

import dataclasses

import torch
from torch import Tensor

from engine import rle
from engine.geometry import mask_boxes
from engine.masks.candidates import Candidates
from engine.masks.filters import Verdict, by_area_frac
from engine.masks.nms import box_nms
from engine.masks.regions import clean_mask
from engine.masks.tally import Tally
from schemas.presets import GeneratorConfig


def clean_candidates(found: Candidates, config: GeneratorConfig, tally: Tally) -> Candidates:
    """Clean every mask, then drop duplicates again, preferring masks that needed no cleaning.

    Returns the masks that stay: first those that did not change, then those that did, each in their old order.
    """
    with tally.timed("filter"):
        cleaned, changed = _clean_each(found, config, tally)
        if config.max_mask_area_frac < 1 and len(cleaned):  # a filled hole may have brought a mask over the limit
            area = torch.tensor([rle.area(one) for one in cleaned.rles])
            image_area = cleaned.rles[0].height * cleaned.rles[0].width
            verdict = by_area_frac(area, image_area=image_area, max_area_frac=config.max_mask_area_frac)
            index = tally.kept(verdict)
            cleaned, changed = cleaned.select(index), changed[index]
    with tally.timed("nms"):
        threshold = max(config.box_nms_thresh, config.crop_nms_thresh)
        keep = box_nms(cleaned.boxes, (~changed).float(), iou_threshold=threshold)
        tally.dropped["duplicate_after_cleaning"] += len(cleaned) - len(keep)
        return cleaned.select(keep)


def _clean_each(found: Candidates, config: GeneratorConfig, tally: Tally) -> tuple[Candidates, Tensor]:
    """The masks of `found` with small regions gone, and which of them changed, (N,) bool."""
    rles, boxes = list(found.rles), found.boxes.clone()
    changed = torch.zeros(len(found), dtype=torch.bool)
    large_enough = torch.ones(len(found), dtype=torch.bool)
    for row, one in enumerate(found.rles):
        result = clean_mask(rle.decode(one), min_area=config.min_mask_region_area)
        changed[row] = result.changed
        large_enough[row] = result.largest_area >= config.min_mask_region_area
        if result.changed:
            rles[row] = rle.encode(result.mask)
            boxes[row] = mask_boxes(torch.as_tensor(result.mask)[None])[0]
    cleaned = dataclasses.replace(found, rles=rles, boxes=boxes)
    if not config.drop_small_masks:
        return cleaned, changed
    index = tally.kept(Verdict(large_enough, "small_region"))
    return cleaned.select(index), changed[index]
