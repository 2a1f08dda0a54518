"""Masks of given boxes and points, picture by picture: one for each prompt, the best of three by predicted IoU."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine import rle as rle_codec
from engine.prompt_files import MaskPrompt
from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from model.prompts import check_in_pixels
from schemas.errors import InputError
from schemas.rle import Rle

_AT_ONCE = 64
_PIXELS_AT_ONCE = 64_000_000  # of masks at the picture's size


class PromptedMask(NamedTuple):
    """A prompt with its mask and the IoU that the model predicts; or with why there is none."""

    prompt: MaskPrompt
    mask: Rle | None
    predicted_iou: float
    reason: str = ""


def masks_of_prompts(
    predictor: Predictor, image: npt.NDArray[np.uint8], prompts: Sequence[MaskPrompt], *, refine: bool = False
) -> list[PromptedMask]:
    """One for each prompt of a picture, (H, W, 3) uint8 RGB, in their order. Boxes are cut to the picture.

    refine: give the mask that comes back once more to the model, beside the same prompt (SAM paper, appendix D.4).
    """
    predictor.set_image(image)
    found: dict[int, PromptedMask] = {}
    good: dict[tuple[bool, bool], list[int]] = {}
    for index, prompt in enumerate(prompts):
        try:
            _check(prompt, predictor.image_hw)
            good.setdefault((bool(prompt.points), prompt.box is not None), []).append(index)
        except InputError as error:
            found[index] = PromptedMask(prompt, None, 0.0, str(error))
    for rows in good.values():
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            found.update(zip(part, _predict(predictor, [prompts[row] for row in part], refine=refine), strict=True))
    return [found[index] for index in range(len(prompts))]


def ids_of(prompts: Sequence[MaskPrompt]) -> list[int]:
    """What the masks of all prompts of a file are called: as their prompts where each has a whole number of its own,
    else by their place, from 1. So masks of one object have one id, whichever model made them."""
    own = [prompt.fields.get("id") for prompt in prompts]
    numbers = [each for each in own if isinstance(each, int) and not isinstance(each, bool)]
    return numbers if len(set(numbers)) == len(prompts) else list(range(1, len(prompts) + 1))


def annotation_of(found: PromptedMask, *, annotation_id: int, image_id: int) -> dict[str, Any]:
    """A COCO annotation. Raises ValueError where there is no mask."""
    if found.mask is None:
        raise ValueError(found.reason)
    left, top, right, bottom = rle_codec.box(found.mask)
    return {
        "category_id": 1,
        **found.prompt.fields,
        "id": annotation_id,
        "image_id": image_id,
        "segmentation": found.mask.to_coco(),
        "bbox": [left, top, right - left, bottom - top],
        "area": rle_codec.area(found.mask),
        "iscrowd": 0,
        "predicted_iou": round(found.predicted_iou, 4),
    }


def categories_of(annotations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """COCO categories of annotations that name none: one for each label, whose id they are given; else `object`."""
    labels = sorted({str(each["label"]) for each in annotations if each.get("label")})
    if not labels:
        return [{"id": 1, "name": "object"}]
    unnamed = any(not each.get("label") for each in annotations)
    names = [*labels, *(["object"] if unnamed and "object" not in labels else [])]
    ids = {name: number for number, name in enumerate(names, start=1)}
    for each in annotations:
        each["category_id"] = ids[str(each.get("label") or "object")]
    return [{"id": number, "name": name} for name, number in ids.items()]


def _check(prompt: MaskPrompt, image_hw: tuple[int, int]) -> None:
    check_in_pixels([point[:2] for point in prompt.points] or None, prompt.box, image_hw)
    if prompt.box is None:
        return
    left, top, right, bottom = prompt.box
    if right < left or bottom < top:
        raise InputError(f"box: {list(prompt.box)} ends before it starts")
    if left >= image_hw[1] or top >= image_hw[0] or right <= 0 or bottom <= 0:
        raise InputError(f"box: {list(prompt.box)} lies outside the picture")


def _predict(predictor: Predictor, prompts: Sequence[MaskPrompt], *, refine: bool) -> Iterator[PromptedMask]:
    with_points = bool(prompts[0].points)
    points = [[point[:2] for point in prompt.points] for prompt in prompts] if with_points else None
    labels = [[point[2] for point in prompt.points] for prompt in prompts] if with_points else None
    boxes = [prompt.box for prompt in prompts if prompt.box is not None] or None
    logits, ious = _best(predictor.predict_low_res(points, labels, boxes=boxes))
    if refine:
        again = predictor.predict_low_res(
            points, labels, boxes=boxes, mask_inputs=logits[:, None], multimask_output=False
        )
        logits, ious = _best(again)
    height, width = predictor.image_hw
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    for start in range(0, len(prompts), at_once):
        shown = predictor.upscale(logits[start : start + at_once, None])[:, 0] > predictor.sam.mask_threshold
        for prompt, iou, mask in zip(
            prompts[start : start + at_once], ious[start : start + at_once], shown.cpu().numpy(), strict=True
        ):
            empty = not mask.any()
            yield PromptedMask(prompt, None if empty else rle_codec.encode(mask), iou, "no mask found" if empty else "")


def _best(low_res: MaskPrediction) -> tuple[Tensor, list[float]]:
    """Of each of N prompts the logits (h, w) with the highest predicted IoU, and that IoU."""
    best = low_res.predicted_iou.argmax(1)
    rows = torch.arange(len(best), device=best.device)
    return low_res.logits[rows, best], low_res.predicted_iou[rows, best].tolist()
