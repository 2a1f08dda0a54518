"""Prompts as users give them (lists, arrays, tensors), checked and made into tensors.

Shapes: N prompts, P points each. Points are (x, y) and boxes XYXY, in pixels of the picture.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.devices import exact_dtype
from model.training.regions import coverage
from schemas.errors import InputError

# Labels as in SAM: 1 on the object, 0 on the background, -1 no point (it becomes the token "not a point").
POINT_LABELS = (-1, 0, 1)
CERTAIN_LOGIT = 10.0  # of a low-resolution pixel that is all inside; outside as far below 0


class Prompts(NamedTuple):
    """N prompts as a model takes them: float32, in pixels of the resized picture.

    points: (N, P, 2) with their labels (N, P) int64. boxes: (N, 4). masks: logits (N, 1, h, w). None of what is not
    given.
    """

    points: tuple[Tensor, Tensor] | None
    boxes: Tensor | None
    masks: Tensor | None


def to_points(points: Any, labels: Any, *, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """(N, P, 2) of `exact_dtype` and (N, P) int64, or None where neither is given.

    Raises InputError where one lacks the other, shapes do not fit, or a label is unknown.
    """
    if points is None and labels is None:
        return None
    if points is None or labels is None:
        given, missing = ("points", "labels") if labels is None else ("labels", "points")
        raise InputError(f"{given} come without {missing}; each point (x, y) needs a label: 1 object, 0 background")
    coords, kinds = to_numbers(points, "points", device=device), to_numbers(labels, "labels", device=device)
    if coords.ndim != 3 or coords.shape[1] == 0 or coords.shape[2] != 2:
        raise InputError(f"points: expected shape (prompts, points, 2), found {tuple(coords.shape)}")
    if kinds.shape != coords.shape[:2]:
        raise InputError(f"labels: expected shape {tuple(coords.shape[:2])}, one a point, found {tuple(kinds.shape)}")
    unknown = sorted(set(kinds.flatten().tolist()) - set(POINT_LABELS))
    if unknown:
        raise InputError(f"labels: expected 1 (object), 0 (background) or -1 (no point), found {unknown[0]:g}")
    return coords, kinds.to(torch.int64)


def to_boxes(boxes: Any, *, device: torch.device) -> Tensor | None:
    """(N, 4) XYXY of `exact_dtype`, or None. Raises InputError for another shape, or one that ends before it starts."""
    if boxes is None:
        return None
    xyxy = to_numbers(boxes, "boxes", device=device)
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise InputError(f"boxes: expected shape (prompts, 4), XYXY pixels, found {tuple(xyxy.shape)}")
    inverted = (xyxy[:, 2:] < xyxy[:, :2]).any(dim=1)
    if inverted.any():
        box = [round(value, 3) for value in xyxy[inverted][0].tolist()]
        raise InputError(f"boxes: {box} ends before it starts; boxes are XYXY pixels, not XYWH")
    return xyxy


def clip_boxes(boxes: Tensor | None, image_hw: tuple[int, int]) -> Tensor | None:
    """(N, 4) XYXY cut to a picture of (height, width): the model knows no pixels beyond it.

    Raises InputError for a box that lies outside of it.
    """
    if boxes is None:
        return None
    height, width = image_hw
    limits = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    clipped = boxes.clamp(min=0).minimum(limits)
    outside = ((clipped[:, 2:] <= clipped[:, :2]) & (boxes[:, 2:] > boxes[:, :2])).any(dim=1)
    if outside.any():
        box = [round(value, 3) for value in boxes[outside][0].tolist()]
        raise InputError(f"boxes: {box} lies outside the picture, which is {width} wide and {height} high")
    return clipped


def check_points_inside(points: tuple[Tensor, Tensor] | None, hw: tuple[int, int]) -> None:
    """Raises InputError, naming point and prompt, where a point lies outside of a picture of (height, width).

    points: (N, P, 2) and labels (N, P); what is labelled -1 is no point.
    """
    if points is None:
        return
    coords, labels = points
    height, width = hw
    limits = torch.tensor([width, height], dtype=coords.dtype, device=coords.device)
    outside = ((coords < 0) | (coords > limits)).any(dim=-1) & (labels != -1)
    if bool(outside.any()):
        prompt, point = outside.nonzero()[0].tolist()
        found = [round(value, 3) for value in coords[prompt, point].tolist()]
        raise InputError(
            f"points: {found}, point {point + 1} of prompt {prompt + 1}, lies outside the picture, which is "
            f"{width} wide and {height} high here"
        )


def check_published(points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, input_hw: tuple[int, int]) -> None:
    """Raises InputError for prompts in the input frame that mean nothing there.

    points: (N, P, 2) and labels (N, P). boxes: (N, 4) XYXY. input_hw: (height, width) of the resized picture. Points
    outside of it, boxes without an area, and coordinates that look like fractions of the picture are named.
    """
    check_points_inside(points, input_hw)
    if boxes is not None and bool((flat := (boxes[:, 2:] == boxes[:, :2]).any(dim=1)).any()):
        raise InputError(f"boxes: {boxes[flat][0].tolist()} has no area; boxes are XYXY pixels of the input frame")
    given = [] if points is None else [points[0][points[1] != -1].flatten()]
    given += [] if boxes is None else [boxes.flatten()]
    numbers = torch.cat(given) if given else torch.zeros(0)
    if len(numbers) and max(input_hw) > 2 and bool((numbers <= 1).all() & (numbers % 1 != 0).any()):
        first = [round(value, 3) for value in numbers[:4].tolist()]
        raise InputError(
            f"coordinates {first} look like fractions of the picture; give pixels of the input frame (`transform`)"
        )


def check_in_pixels(points: Any, box: Any, image_hw: tuple[int, int]) -> None:
    """Raises InputError for an empty box, points outside of the picture, and coordinates that look like fractions.

    points: (P, 2) or None. box: (4,) or None. What has another shape or is no number is left to those who read it.
    """
    height, width = image_hw
    corners = _rows(box, 4)
    if corners is not None and ((corners[:, 2:] == corners[:, :2]).any()):
        raise InputError(f"box: {corners[0].tolist()} has no area; boxes are XYXY pixels")
    clicks = _rows(points, 2)
    if clicks is not None and ((clicks < 0).any() or (clicks > [width, height]).any()):
        outside = clicks[((clicks < 0) | (clicks > [width, height])).any(axis=1)][0]
        raise InputError(
            f"points: {outside.tolist()} lies outside the picture, which is {width} wide and {height} high"
        )
    given = [rows.ravel() for rows in (corners, clicks) if rows is not None]
    numbers = np.concatenate(given) if given else np.zeros(0)
    if numbers.size and max(height, width) > 2 and (numbers <= 1).all() and (numbers % 1 != 0).any():
        raise InputError(f"coordinates {numbers.tolist()} look like fractions of the picture; give pixels")


def _rows(values: Any, length: int) -> NDArray[np.float64] | None:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    good = array.ndim in (1, 2) and array.size and array.shape[-1] == length and np.isfinite(array).all()
    return array.reshape(-1, length) if good else None


def mask_logits(masks: Sequence[NDArray[np.bool_]], *, input_hw: tuple[int, int], side: int) -> Tensor:
    """Masks (N, H, W) of a picture as logits (N, side / 4, side / 4), the form of a mask prompt.

    input_hw: (height, width) of the picture in the padded input, whose side is `side`.
    """
    height, width = input_hw
    square = np.zeros((len(masks), side, side), dtype=np.float32)
    for row, mask in enumerate(masks):
        resized = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        square[row, :height, :width] = resized
    return (2 * coverage(torch.from_numpy(square), (side // 4, side // 4)) - 1) * CERTAIN_LOGIT


def to_mask_inputs(mask_inputs: Any, *, side: int, device: torch.device) -> Tensor | None:
    """(N, 1, side, side) float32 logits, or None; what holds 0 and 1 alone is a mask, and becomes sure logits.

    Raises InputError for another shape.
    """
    if mask_inputs is None:
        return None
    logits = to_numbers(mask_inputs, "mask_inputs", device=device).to(torch.float32)
    if logits.ndim != 4 or logits.shape[1:] != (1, side, side):
        raise InputError(
            f"mask_inputs: expected shape (prompts, 1, {side}, {side}), logits of an earlier prediction, "
            f"found {tuple(logits.shape)}; Predictor.mask_prompt makes them of a mask of the picture"
        )
    is_mask = ((logits == 0) | (logits == 1)).all() & (logits == 1).any()
    return (2 * logits - 1) * CERTAIN_LOGIT if is_mask else logits


def to_numbers(values: Any, name: str, *, device: torch.device) -> Tensor:
    """A tensor of `exact_dtype`. Raises InputError, naming the argument, unless these are finite numbers."""
    try:
        numbers = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected an array of numbers; {' '.join(str(error).split())}") from error
    numbers = numbers.to(exact_dtype(device)).to(device)
    if not bool(torch.isfinite(numbers).all()):
        raise InputError(f"{name}: every value must be finite, found NaN or infinity")
    return numbers


def check_same_count(**prompts: Any) -> None:
    """Raises InputError unless all kinds that are not None describe the same number of prompts, and there is one."""
    counts = {name: len(values) for name, values in prompts.items() if values is not None}
    if not counts:
        raise InputError("no prompt: give points with labels, a box or a mask")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} for {name}" for name, count in counts.items())
        raise InputError(f"different numbers of prompts: {listed}; give one of each kind for every prompt")


def is_ragged(points: Any) -> bool:
    """Whether this is a list of prompts with different numbers of points."""
    if not isinstance(points, list | tuple):
        return False
    return len({len(prompt) for prompt in points if hasattr(prompt, "__len__")}) > 1
