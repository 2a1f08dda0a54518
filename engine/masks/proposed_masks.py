"""All masks that were proposed for a picture, in place of those of a point grid (FastSAM's "everything")."""

from collections.abc import Callable
from dataclasses import replace

import torch

from engine import rle as rle_codec
from engine.fast_sam import FastSam, Image
from engine.masks.counters import Counters
from engine.masks.generator import GenerationResult
from engine.masks.overlaps import coverage_frac, mask_nms
from model.predictor import Predictor
from schemas.mask import GENERATOR, Mask
from schemas.rle import Rle

MASK_NMS_THRESH = 0.9  # as published


class AllProposed:
    """Gives the masks of `FastSam`, like `engine.masks.generator.MaskGenerator` in its place."""

    def __init__(self, sam: FastSam) -> None:
        self._predictor = Predictor(sam)

    def generate(self, image: Image, *, progress: Callable[[int, int], None] | None = None) -> GenerationResult:
        """Masks of an image, (H, W, 3) uint8 RGB, most confident first; of those that are nearly the same the first.

        Raises InputError where nothing was proposed for this image.
        """
        counters = Counters()
        with counters.timed("encode"):
            self._predictor.set_image(image)
            proposed = self._predictor.encoded.embedding
        with counters.timed("rle"):
            masks = [
                replace(_measured(rle, label), predicted_iou=score)
                for rle, score, label in zip(proposed.rles, proposed.scores, proposed.labels, strict=True)
            ]
        full = [mask for mask in masks if mask.area]
        counters.dropped["empty"] += len(masks) - len(full)
        with counters.timed("nms"):
            kept = _distinct(full)
        counters.dropped["duplicate_mask"] += len(full) - len(kept)
        if progress is not None:
            progress(1, 1)
        return GenerationResult(kept, counters.dropped, counters.seconds, coverage_frac([m.rle for m in kept]), None)


def _measured(rle: Rle, label: str) -> Mask:
    return replace(rle_codec.measured(rle), origin="automatic", annotator=GENERATOR, label=label)


def _distinct(masks: list[Mask]) -> list[Mask]:
    if not masks:
        return []
    boxes = torch.tensor([mask.box for mask in masks]).reshape(-1, 4)
    inclusive = (boxes - boxes.new_tensor([0, 0, 1, 1])).long()
    scores = torch.tensor([mask.predicted_iou for mask in masks])
    keep = mask_nms([mask.rle for mask in masks], inclusive, scores, iou_threshold=MASK_NMS_THRESH)
    return [masks[place] for place in keep.tolist()]
