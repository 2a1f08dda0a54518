"""Edge maps of pictures, (H, W) in [0, 1]: of a promptable model, which never saw an edge (SAM paper, section 7.2 and
appendix D.2), and of Canny and Sobel as yardsticks.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt
import torch
from skimage.filters import apply_hysteresis_threshold
from torch import Tensor

from engine.evaluation.edge_scores import THRESHOLDS
from engine.masks.crop_masks import MASK_THRESHOLD
from engine.masks.grid import point_grid
from engine.masks.measuring import survey
from engine.masks.nms import box_nms
from model.predictor import Predictor

Map = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
BOX_NMS_THRESH = 0.7
_PROMPTS_AT_ONCE, _MASKS_AT_ONCE = 64, 8
_CANNY_SIGMA_PX, _CANNY_LOW_FRAC = 2.0, 0.4
_MERGED_SIGMA_PX = 1.5  # masks on the two sides of a border have a line each, two pixels apart
_RIDGE_SIGMA_PX = 2.0  # over which the direction of a line is looked at
_ANY_EDGE = np.ones((3, 3), np.uint8)


@torch.no_grad()
def model_edges(predictor: Predictor, image: Image, *, points_per_side: int = 16) -> Map:
    """Edges (H, W) of a picture (H, W, 3): the strongest of all masks that a point grid gives, thinned, up to 1.

    Three masks a point, none filtered, of those whose boxes overlap the one with the highest predicted IoU. Smoothed
    before it is thinned, as Canny does: of 0, 1, 1.5 and 2 px, 1.5 was chosen on training photographs of BSDS500.
    """
    predictor.set_image(image)
    strongest = np.zeros(image.shape[:2], dtype=np.float32)
    every = _distinct_masks(predictor, points_per_side)
    for logits in every.split(_MASKS_AT_ONCE) if len(every) else ():
        for probability in torch.sigmoid(predictor.upscale(logits[None])[0]).cpu().numpy():
            np.maximum(strongest, mask_edges(probability), out=strongest)
    return thin_ridges(_up_to_1(cv2.GaussianBlur(strongest, (0, 0), _MERGED_SIGMA_PX)))


def mask_edges(probability: Map) -> Map:
    """Sobel's magnitude of a mask's probability (H, W), 0 but on the pixels around the mask."""
    inside = (probability > 0.5).astype(np.uint8)
    around = cv2.dilate(inside, _ANY_EDGE) != inside
    return np.where(around, _magnitude(*_gradient(probability)), np.float32(0))


def thin_ridges(edges: Map) -> Map:
    """Keep a pixel of an edge map (H, W) where it is at least as strong as both neighbours across its line.

    Across is where the smoothed map bends most: the gradient, which Canny goes by, is 0 on the top of a line.
    """
    smooth = cv2.GaussianBlur(edges, (0, 0), _RIDGE_SIGMA_PX)
    xx, yy, xy = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((2, 0), (0, 2), (1, 1)))
    along = np.arctan2(2 * xy, xx - yy) / 2
    return _suppressed(edges, -np.sin(along), np.cos(along))


def canny_edges(image: Image) -> Map:
    """Canny (PAMI 1986) of a picture's grey values at every threshold: a pixel is worth the highest that keeps it.

    Gaussian of sigma 2. Thresholds are contrasts of a step edge, 1 of black and white; the lower is 0.4 of the upper.
    """
    smooth = cv2.GaussianBlur(_grey(image), (0, 0), _CANNY_SIGMA_PX)
    across, down = _gradient(smooth)
    contrast = _magnitude(across, down) * np.float32(_CANNY_SIGMA_PX * math.sqrt(2 * math.pi))
    thin = _suppressed(contrast, *_direction(across, down))
    found = np.zeros_like(thin)
    for threshold in THRESHOLDS:
        kept = apply_hysteresis_threshold(thin, _CANNY_LOW_FRAC * threshold, threshold)
        if not kept.any():
            break
        found[kept] = threshold + (THRESHOLDS[1] - THRESHOLDS[0]) / 2  # so that rounding never takes it below
    return found


def sobel_edges(image: Image) -> Map:
    """Sobel's magnitude of a picture's grey values, thinned across the gradient; a step from black to white is 1."""
    across, down = _gradient(_grey(image))
    strength = np.minimum(2 * _magnitude(across, down), np.float32(1))
    return _suppressed(strength, *_direction(across, down))


def _distinct_masks(predictor: Predictor, points_per_side: int) -> Tensor:
    """Logits (K, h, w) of the masks of a point grid that are not empty and whose boxes do not overlap."""
    height, width = predictor.image_hw
    logits, boxes, scores = [], [], []
    for points in torch.as_tensor(point_grid(points_per_side) * [width, height]).split(_PROMPTS_AT_ONCE):
        prompted = predictor.prompt(points[:, None], torch.ones((len(points), 1)))
        predicted_iou = prompted.predicted_iou.flatten()
        some = prompted.logits(torch.arange(len(predicted_iou), device=predicted_iou.device)).float()
        found = survey(some, predictor.upscaling, threshold=MASK_THRESHOLD, offset=0)
        there = ~found.empty
        logits.append(some[there.to(some.device)])
        boxes.append(found.boxes[there])
        scores.append(predicted_iou.cpu()[there])
    kept = box_nms(torch.cat(boxes), torch.cat(scores), iou_threshold=BOX_NMS_THRESH)
    every = torch.cat(logits)
    return every[kept.to(every.device)]


def _suppressed(values: Map, x: Map, y: Map) -> Map:
    """Values (H, W) where none of the two that lie one pixel away in the direction (x, y), each (H, W), is larger."""
    rows, columns = np.indices(values.shape, dtype=np.float32)
    kept = np.ones(values.shape, dtype=bool)
    for side in (1, -1):
        beside = cv2.remap(
            values, columns + side * x, rows + side * y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        kept &= values >= beside
    return np.where(kept, values, np.float32(0))


def _gradient(values: Map) -> tuple[Map, Map]:
    """To the right and down, a pixel."""
    across, down = (cv2.Sobel(values, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return across, down


def _direction(across: Map, down: Map) -> tuple[Map, Map]:
    length = np.maximum(_magnitude(across, down), np.float32(1e-12))
    return across / length, down / length


def _magnitude(across: Map, down: Map) -> Map:
    return np.hypot(across, down)


def _grey(image: Image) -> Map:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def _up_to_1(edges: Map) -> Map:
    peak = edges.max(initial=0)
    return edges / peak if peak > 0 else edges
