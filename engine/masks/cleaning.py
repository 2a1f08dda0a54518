"""Small regions of finished masks are cleaned, and duplicates that this makes are dropped (SAM paper, appendix B)."""

import dataclasses

import torch
from torch import Tensor

from engine import rle
from engine.masks.boxed import clean_rle
from engine.masks.candidates import Candidates
from engine.masks.counters import Counters
from engine.masks.filters import Verdict, by_area_frac
from engine.masks.nms import box_nms
from schemas.presets import GeneratorConfig
from schemas.rle import Rle


def clean_candidates(found: Candidates[Rle], config: GeneratorConfig, counters: Counters) -> Candidates[Rle]:
    """Clean every mask, then drop duplicates again, preferring masks that needed no cleaning.

    Returns the masks that stay: first those that did not change, then those that did, each in their old order.
    """
    with counters.timed("filter"):
        cleaned, changed = _clean_each(found, config, counters)
        if config.max_mask_area_frac < 1 and len(cleaned):  # a filled hole may have brought a mask over the limit
            area = torch.tensor([rle.area(one) for one in cleaned.masks])
            image_area = cleaned.masks[0].height * cleaned.masks[0].width
            verdict = by_area_frac(area, image_area=image_area, max_area_frac=config.max_mask_area_frac)
            index = counters.kept(verdict)
            cleaned, changed = cleaned.select(index), changed[index]
    with counters.timed("nms"):
        threshold = max(config.box_nms_thresh, config.crop_nms_thresh)
        keep = box_nms(cleaned.boxes, (~changed).float(), iou_threshold=threshold)
        counters.dropped["duplicate_after_cleaning"] += len(cleaned) - len(keep)
        return cleaned.select(keep)


def _clean_each(found: Candidates[Rle], config: GeneratorConfig, counters: Counters) -> tuple[Candidates[Rle], Tensor]:
    """The masks of `found` with small regions gone, and which of them changed, (N,) bool."""
    min_area = config.min_mask_region_area
    each = [
        clean_rle(mask, tuple(box), min_area=min_area)
        for mask, box in zip(found.masks, found.boxes.tolist(), strict=True)
    ]
    boxes = torch.tensor([one.box for one in each], dtype=torch.int64).reshape(-1, 4)
    changed = torch.tensor([one.changed for one in each], dtype=torch.bool)
    cleaned = dataclasses.replace(found, masks=[one.mask for one in each], boxes=boxes)
    if not config.drop_small_masks:
        return cleaned, changed
    large_enough = torch.tensor([one.largest_area >= min_area for one in each], dtype=torch.bool)
    index = counters.kept(Verdict(large_enough, "small_region"))
    return cleaned.select(index), changed[index]
