"""How much there is to learn from an image: how unsure the model is of the masks that a coarse grid of points gets."""

import torch

from engine.masks.grid import point_grid
from model.predictor import Predictor

_POINTS_PER_SIDE = 8


def usefulness(predictor: Predictor) -> float:
    """1 - mean over points of the best predicted IoU, in [0, 1], of the image that is set.

    0: the model is sure wherever one clicks; such an image teaches it little.
    """
    height, width = predictor.image_hw
    points = torch.as_tensor(point_grid(_POINTS_PER_SIDE)) * torch.tensor([width, height])
    prompted = predictor.prompt(points[:, None, :], torch.ones((len(points), 1)))
    return float(1 - prompted.predicted_iou.float().max(dim=1).values.clamp(0, 1).mean())
