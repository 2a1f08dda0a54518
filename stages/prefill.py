"""Confident masks for people to start from: the boxes of an object detector prompt SAM (SAM paper, section 4)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine import rle as rle_codec
from engine.masks.boxed import clean_rle
from engine.masks.crop_masks import MASK_THRESHOLD, CropMasks
from engine.masks.crops import make_crops
from engine.masks.filters import by_area_frac, by_emptiness, by_stability, stability_of_counts
from engine.masks.measuring import survey
from engine.masks.named_filters import pass_filters
from engine.masks.nms import box_nms
from engine.masks.overlaps import mask_areas, mask_nms
from model.object_detector import Detections, ObjectDetector
from model.predictor import Predictor
from schemas.config import SemiAutomaticConfig
from schemas.errors import InputError
from schemas.mask import Mask, Prompt
from schemas.rle import Rle

_BOXES_BEFORE_NMS = 1000
_LEAST_BOX_SCORE = 0.05
_PROMPTS_AT_ONCE = 32
_WAITING_BYTES = 2**30


@dataclass(frozen=True)
class PrefillSettings:
    """Which boxes prompt, and which of the masks stay; thresholds of masks are as in `schemas.presets`."""

    max_masks: int
    stability_score_thresh: float
    stability_score_offset: float
    min_mask_region_area: int
    drop_small_masks: bool
    max_mask_area_frac: float
    max_boxes: int = 100
    box_nms_thresh: float = 0.7
    mask_nms_thresh: float = 0.5
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @staticmethod
    def of(config: SemiAutomaticConfig) -> "PrefillSettings":
        """Masks are as stable and as clean as those of the stage's generator."""
        generator = config.generator_config()
        return PrefillSettings(
            config.max_prefilled_masks,
            generator.stability_score_thresh,
            generator.stability_score_offset,
            generator.min_mask_region_area,
            generator.drop_small_masks,
            generator.max_mask_area_frac,
            filters=generator.filters,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; without filters where there are none, as before there was such a setting."""
        return {name: value for name, value in asdict(self).items() if name != "filters" or value}


class ScoredMask(NamedTuple):
    """score: of the detector for the box times the IoU that SAM predicts for the mask, in [0, 1]."""

    mask: Mask
    score: float


def prefill(
    predictor: Predictor, detector: ObjectDetector, *, threshold: float, settings: PrefillSettings
) -> list[Mask]:
    """The masks of the image that is set whose score is at least the threshold, best first.

    Each says which box prompted it.
    Raises WaitError before `set_image`, InputError if the model gives numbers that are not finite.
    """
    return [found.mask for found in scored_masks(predictor, detector, settings, least_score=threshold)]


def scored_masks(
    predictor: Predictor, detector: ObjectDetector, settings: PrefillSettings, *, least_score: float = 0.0
) -> list[ScoredMask]:
    """Stable, distinct masks of the image that is set, best first, each with its score.

    A higher `least_score` only cuts the list off: better masks never depend on worse ones.
    """
    # A mask's score is never above its box's.
    least_box_score = max(least_score, _LEAST_BOX_SCORE)
    found = detector.detect(predictor.encoded, max_boxes=_BOXES_BEFORE_NMS, min_score=least_box_score)
    return masks_of_boxes(predictor, found, settings, least_score=least_score)


def masks_of_boxes(
    predictor: Predictor, found: Detections, settings: PrefillSettings, *, least_score: float = 0.0
) -> list[ScoredMask]:
    """Stable, distinct masks that boxes of the image that is set prompt, best first, each with its score.

    found: boxes in pixels of the image, best first, with scores in [0, 1]; they may overlap. least_score: of a mask.
    Raises InputError if the model gives numbers that are not finite.
    """
    keep = box_nms(found.boxes, found.scores, iou_threshold=settings.box_nms_thresh)[: settings.max_boxes]
    if len(keep) == 0:
        return []
    boxes = found.boxes[keep]
    logits, predicted_iou = _prompt(predictor, boxes)
    scores = found.scores[keep] * predicted_iou
    confident = (scores >= least_score).nonzero().squeeze(1)
    masks = _stable_masks(predictor, logits, confident, boxes, predicted_iou, settings)
    rles, tight = [mask.rle for _, mask in masks], torch.tensor([mask.box for _, mask in masks]).reshape(-1, 4)
    inclusive = (tight - tight.new_tensor([0, 0, 1, 1])).long()
    of_masks = scores[torch.tensor([row for row, _ in masks], dtype=torch.int64)]
    distinct = mask_nms(rles, inclusive, of_masks, iou_threshold=settings.mask_nms_thresh)
    scored = [ScoredMask(masks[at][1], float(of_masks[at])) for at in distinct.tolist()]
    kept, _ = pass_filters([each.mask for each in scored], settings.filters)
    return [scored[place] for place in kept[: settings.max_masks]]


def _prompt(predictor: Predictor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, h, w) of each box's mask of highest predicted IoU, and that IoU (N,), cut to [0, 1], on the CPU."""
    logits, predicted = [], []
    for some in boxes.split(_PROMPTS_AT_ONCE):
        prompted = predictor.prompt(boxes=some)
        each, best = prompted.predicted_iou.max(dim=1)
        first = torch.arange(len(some), device=best.device) * prompted.predicted_iou.shape[1]
        logits.append(prompted.logits(first + best).float())
        predicted.append(each.float())
    predicted_iou = torch.cat(predicted).cpu()
    if not torch.isfinite(predicted_iou).all():
        raise InputError("the model gave predicted IoUs that are not finite; its weights are broken")
    return torch.cat(logits), predicted_iou.clamp(0, 1)


def _stable_masks(
    predictor: Predictor,
    logits: Tensor,
    rows: Tensor,
    boxes: Tensor,
    predicted_iou: Tensor,
    settings: PrefillSettings,
) -> list[tuple[int, Mask]]:
    """Of N masks those among `rows` that pass the stage's filters, cleaned, each with its row."""
    logits = logits[rows.to(logits.device)]
    offset, upscaling, image_hw = settings.stability_score_offset, predictor.upscaling, predictor.image_hw
    found = survey(logits, upscaling, threshold=MASK_THRESHOLD, offset=offset)
    (whole,) = make_crops(image_hw, n_layers=0, overlap_ratio=0.0)
    waiting = CropMasks(whole, upscaling, image_hw=image_hw, offset=offset, max_bytes=_WAITING_BYTES)
    index = by_emptiness(found.empty).keep.nonzero().squeeze(1)
    places = waiting.add(found, index)
    intersection, union, _ = waiting.counts(places).unbind(1)
    stability = stability_of_counts(intersection, union)
    masks = []
    for which in by_stability(stability, threshold=settings.stability_score_thresh).keep.nonzero().squeeze(1).tolist():
        at = int(index[which])
        row = int(rows[at])
        cleaned = _cleaned(waiting.encoded(places[which]), tuple(found.boxes[at].tolist()), settings)
        if cleaned is not None:
            mask = replace(
                rle_codec.measured(cleaned),
                prompt=Prompt(box=tuple(boxes[row].tolist())),
                predicted_iou=float(predicted_iou[row]),
                stability_score=float(stability[which]),
                origin="automatic",
            )
            masks.append((row, mask))
    return masks


def _cleaned(mask: Rle, box: tuple[int, int, int, int], settings: PrefillSettings) -> Rle | None:
    """A mask without small regions; None where it is too small or nearly the whole image. box: its own, inclusive."""
    if settings.min_mask_region_area > 0:
        cleaned = clean_rle(mask, box, min_area=settings.min_mask_region_area)
        if settings.drop_small_masks and cleaned.largest_area < settings.min_mask_region_area:
            return None
        mask = cleaned.mask
    area, image_area = torch.from_numpy(mask_areas([mask])), mask.height * mask.width
    return mask if by_area_frac(area, image_area=image_area, max_area_frac=settings.max_mask_area_frac).keep else None
