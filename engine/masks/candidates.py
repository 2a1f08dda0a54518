"""Masks on their way through the generator: one row a mask, RLEs and what is known of each, never pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.rle import Rle


@dataclass(frozen=True)
class Candidates:
    """N masks in the frame of the image.

    rles: N full-size RLEs. boxes: (N, 4) int64 XYXY, inclusive. predicted_iou, stability_score: (N,) float32.
    points: (N, 2) float64 (x, y). crop_boxes: (N, 4) int64 XYXY. All tensors on the CPU.
    """

    rles: list[Rle]
    boxes: Tensor
    predicted_iou: Tensor
    stability_score: Tensor
    points: Tensor
    crop_boxes: Tensor

    def __len__(self) -> int:
        return len(self.rles)

    def select(self, index: Tensor) -> "Candidates":
        """The rows of `index` (K,) int64, in that order."""
        return Candidates(
            [self.rles[row] for row in index.tolist()],
            self.boxes[index],
            self.predicted_iou[index],
            self.stability_score[index],
            self.points[index],
            self.crop_boxes[index],
        )

    @staticmethod
    def empty() -> "Candidates":
        return Candidates(
            [],
            torch.zeros((0, 4), dtype=torch.int64),
            torch.zeros(0),
            torch.zeros(0),
            torch.zeros((0, 2), dtype=torch.float64),
            torch.zeros((0, 4), dtype=torch.int64),
        )

    @staticmethod
    def concatenate(parts: Sequence["Candidates"]) -> "Candidates":
        parts = [Candidates.empty(), *parts]
        return Candidates(
            [rle for part in parts for rle in part.rles],
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.predicted_iou for part in parts]),
            torch.cat([part.stability_score for part in parts]),
            torch.cat([part.points for part in parts]),
            torch.cat([part.crop_boxes for part in parts]),
        )
