"""Segmentation from the ground truth's own box (SAM paper, section 7.4 and appendix D.4, without a detector)."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.evaluation.points import PROMPTS_AT_ONCE
from engine.evaluation.scores import PromptScores, joined, mask_iou
from model.predictor import Predictor
from model.training.samples import Sample, decode_masks

Mask = npt.NDArray[np.bool_]


def evaluate_boxes(predictor: Predictor, samples: Iterable[Sample]) -> PromptScores | None:
    """Prompt every mask of every sample by its tight box, take all three masks of the answer and measure.

    Returns None where there is no mask at all.
    """
    parts = []
    for sample in samples:
        if sample.masks:
            predictor.set_image(sample.image)
            parts.append(box_masks(predictor, sample))
    return joined(parts) if parts else None


def box_masks(predictor: Predictor, sample: Sample) -> PromptScores:
    """As `evaluate_boxes`, of one sample with masks whose picture the predictor has in use."""
    parts = []
    for start in range(0, len(sample.masks), PROMPTS_AT_ONCE):
        decoded = decode_masks(sample.masks[start : start + PROMPTS_AT_ONCE]).astype(bool)
        parts.append(_prompt(predictor, list(np.moveaxis(decoded, 2, 0))))
    return joined(parts)


def tight_box(mask: Mask) -> tuple[int, int, int, int]:
    """XYXY of a mask (H, W), first and last column and row with foreground. Raises ValueError where it is empty."""
    x0, y0, x1, y1 = rle_codec.box(rle_codec.encode(mask))
    if x1 == 0:
        raise ValueError("an empty mask has no box")
    return x0, y0, x1 - 1, y1 - 1


def prompt_boxes(predictor: Predictor, truths: list[Mask]) -> tuple[Mask, npt.NDArray[np.float32]]:
    """What the model answers to the tight boxes of N masks of the picture in use.

    Returns masks (N, 3, H, W) bool and their predicted IoU (N, 3).
    """
    boxes = np.array([tight_box(truth) for truth in truths], dtype=np.float64)
    low_res = predictor.predict_low_res(None, None, boxes=boxes, multimask_output=True)
    masks = (predictor.upscale(low_res.logits) > predictor.sam.mask_threshold).cpu().numpy()
    return masks, low_res.predicted_iou.cpu().numpy()


def _prompt(predictor: Predictor, truths: list[Mask]) -> PromptScores:
    masks, predicted = prompt_boxes(predictor, truths)
    ious = np.array([[mask_iou(mask, truth) for mask in three] for three, truth in zip(masks, truths, strict=True)])
    best = predicted.argmax(1)
    rows = np.arange(len(truths))
    return PromptScores(ious[rows, best], ious.max(1), predicted[rows, best])
