"""A model whose answers are known, and masks to ask it for."""

import numpy as np
import torch
from pycocotools import mask as coco_mask

from model.mask_decoder import MaskPrediction
from schemas.rle import CocoRle


def rectangle(rows: slice, columns: slice, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


def coco_rle(mask: np.ndarray) -> CocoRle:
    encoded: CocoRle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return encoded


class ThreeHalves:
    """Answers with half of rectangle(16:48, 16:48), all of it and the whole picture; with one mask, with all of it.

    boxes: every box that it was asked, in pixels of its input of 64 px.
    """

    image_size = 64
    mask_threshold = 0.0
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.boxes: list[torch.Tensor] = []

    def preprocess(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def encode(self, pixels: torch.Tensor) -> None:
        return None

    def decode(
        self,
        embedding: None,
        *,
        points: tuple[torch.Tensor, torch.Tensor] | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
        multimask_output: bool,
    ) -> MaskPrediction:
        three = torch.full((3, 16, 16), -1.0)
        three[0, 4:12, 4:8] = 1
        three[1, 4:12, 4:12] = 1
        three[2] = 1
        if boxes is not None:
            self.boxes += list(boxes)
        asked = boxes if points is None else points[0]
        assert asked is not None
        chosen = three if multimask_output else three[1:2]
        predicted = torch.tensor([0.9, 0.6, 0.2] if multimask_output else [0.8])
        return MaskPrediction(chosen.repeat(len(asked), 1, 1, 1), predicted.repeat(len(asked), 1))
