"""Masks as the only prompt: a mask that is handed in should come back."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor

from engine.evaluation.points import PROMPTS_AT_ONCE
from engine.evaluation.scores import PromptScores, mask_iou
from model.predictor import Predictor
from model.prompts import mask_logits
from model.training.samples import Sample, decode_masks

Mask = npt.NDArray[np.bool_]
MaskSize = Literal["small", "medium", "large"]
SMALL_FRAC, LARGE_FRAC = 0.002, 0.02  # of the picture


def evaluate_mask_prompts(
    predictor: Predictor, samples: Iterable[Sample]
) -> dict[MaskSize | Literal["all"], PromptScores]:
    """Give every mask of every sample alone as mask prompt, and compare the one mask that comes back with it.

    Even a model that keeps it whole is off by what the decoder's resolution cannot show.
    Returns scores of all masks and of those of each size that occurs; empty where there is no mask at all.
    """
    ious: list[float] = []
    predicted: list[float] = []
    sizes: list[MaskSize] = []
    for sample in samples:
        if sample.masks:
            predictor.set_image(sample.image)
        for start in range(0, len(sample.masks), PROMPTS_AT_ONCE):
            truths = np.moveaxis(decode_masks(sample.masks[start : start + PROMPTS_AT_ONCE]).astype(bool), 2, 0)
            low_res = predictor.predict_low_res(
                None, None, mask_inputs=as_mask_inputs(predictor, truths)[:, None], multimask_output=False
            )
            masks = (predictor.upscale(low_res.logits) > predictor.sam.mask_threshold).cpu().numpy()[:, 0]
            ious += [mask_iou(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
            predicted += low_res.predicted_iou[:, 0].tolist()
            sizes += [size_of(truth) for truth in truths]
    return _by_size(np.array(ious), np.array(predicted), sizes) if ious else {}


def size_of(mask: Mask) -> MaskSize:
    """Whether a mask (H, W) takes less than 0.2 % of its picture, more than 2 %, or what lies between."""
    share = float(mask.mean())
    return "small" if share < SMALL_FRAC else "large" if share > LARGE_FRAC else "medium"


def as_mask_inputs(predictor: Predictor, masks: Sequence[Mask] | Mask) -> Tensor:
    """Masks (N, H, W) of the picture in use as logits (N, h, w) of the size that `mask_inputs` has."""
    return mask_logits(list(masks), input_hw=predictor.input_hw, side=predictor.sam.image_size)


def _by_size(
    ious: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64], sizes: list[MaskSize]
) -> dict[MaskSize | Literal["all"], PromptScores]:
    scores: dict[MaskSize | Literal["all"], PromptScores] = {"all": PromptScores(ious, ious, predicted)}
    for size in get_args(MaskSize):
        rows = np.array([each == size for each in sizes])
        if rows.any():
            scores[size] = PromptScores(ious[rows], ious[rows], predicted[rows])
    return scores
