"""How the simulated annotator clicks: the paper's sampling of clicks, one mask at a time, until it is good enough."""

from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from engine.evaluation.scores import mask_iou

FOREGROUND, BACKGROUND = 1, 0
# A finished mask has no logits to feed back. Inside and outside get logits as sure as SAM's own usually are.
_SURE_LOGIT = 8.0


class PromptablePredictor(Protocol):
    """The part of `model.predictor.Predictor` that clicking needs; an image has been set."""

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        *,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


@dataclass
class Clicked:
    """A mask as clicking left it.

    mask: (H, W) bool. points: (x, y) pixels of the image with label 1 (foreground) or 0. logits: (1, h, w), what the
    next click is predicted from, None before the first prediction. clicks: how many points this annotator set.
    """

    mask: np.ndarray
    points: list[tuple[float, float, int]] = field(default_factory=list)
    predicted_iou: float = float("nan")
    logits: np.ndarray | None = None
    clicks: int = 0


def sample_click(
    target: np.ndarray, prediction: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, int] | None:
    """A click uniform in the error region of `prediction`, (H, W) bool (SAM paper, appendix A).

    With an empty prediction that is uniform in the target. Returns x, y in pixels and the label: foreground where the
    target was missed, background where the prediction spills over; None where there is no error.
    """
    error = np.flatnonzero(target != prediction)
    if not len(error):
        return None
    y, x = divmod(int(error[rng.integers(len(error))]), target.shape[1])
    return float(x), float(y), FOREGROUND if target[y, x] else BACKGROUND


def click_until(
    predictor: PromptablePredictor,
    target: np.ndarray,
    *,
    rng: np.random.Generator,
    max_clicks: int,
    accept_iou: float,
    start: Clicked | None = None,
) -> Clicked:
    """Click until the mask has `accept_iou` with `target` (H, W) bool, or until `max_clicks`.

    A single point is answered with three masks, of which the annotator is shown the most confident; its logits are fed
    back with each further click. `start` is a mask to go on from instead of an empty one.
    """
    state = start or Clicked(mask=np.zeros_like(target))
    while state.clicks < max_clicks and mask_iou(state.mask, target) < accept_iou:
        click = sample_click(target, state.mask, rng)
        if click is None:
            break
        state = _predict(predictor, state, click)
    return state


def logits_of_mask(mask: np.ndarray, *, input_hw: tuple[int, int], image_size: int) -> np.ndarray:
    """Make a finished mask into a mask prompt for SAM, at a quarter of its input size S.

    mask: (H, W) bool of the original image. input_hw: height and width of the resized image inside the padded square
    of image_size = S pixels. Returns (1, S / 4, S / 4) float32; the padding counts as background.
    """
    logits_side = image_size // 4
    scale = logits_side / image_size
    height, width = (max(1, min(logits_side, round(side * scale))) for side in input_hw)
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    logits = np.full((1, logits_side, logits_side), -_SURE_LOGIT, dtype=np.float32)
    logits[0, :height, :width] = (2 * share - 1) * _SURE_LOGIT
    return logits


def _predict(predictor: PromptablePredictor, state: Clicked, click: tuple[float, float, int]) -> Clicked:
    points = [*state.points, click]
    masks, predicted_iou, logits = predictor.predict(
        np.array([point[:2] for point in points], dtype=np.float32),
        np.array([point[2] for point in points], dtype=np.int64),
        mask_input=state.logits,
        multimask_output=len(points) == 1 and state.logits is None,
    )
    best = int(np.argmax(predicted_iou))
    return Clicked(
        mask=masks[best],
        points=points,
        predicted_iou=float(predicted_iou[best]),
        logits=logits[best : best + 1],
        clicks=state.clicks + 1,
    )
