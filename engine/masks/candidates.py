"""Masks on their way through the generator: one row a mask and what is known of each, never full-size pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

M = TypeVar("M")
K = TypeVar("K")


@dataclass(frozen=True)
class Candidates(Generic[M]):
    """N masks in the frame of the image.

    masks: the N masks themselves, full-size RLEs or what they can be made of. boxes: (N, 4) int64 XYXY, inclusive.
    predicted_iou, stability_score: (N,) float32, the latter NaN for masks that are not measured yet. points: (N, 2)
    float64 (x, y). crop_boxes: (N, 4) int64 XYXY. All tensors on the CPU.
    """

    masks: list[M]
    boxes: Tensor
    predicted_iou: Tensor
    stability_score: Tensor
    points: Tensor
    crop_boxes: Tensor

    def __len__(self) -> int:
        return len(self.masks)

    def select(self, index: Tensor) -> "Candidates[M]":
        """The rows of `index` (K,) int64, in that order."""
        return Candidates([self.masks[row] for row in index.tolist()], *(each[index] for each in self._numbers()))

    def with_masks(self, masks: list[K]) -> "Candidates[K]":
        """The same N rows with their masks in another form."""
        return Candidates(masks, *self._numbers())

    def _numbers(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self.boxes, self.predicted_iou, self.stability_score, self.points, self.crop_boxes

    @staticmethod
    def empty() -> "Candidates[M]":
        return Candidates(
            [],
            torch.zeros((0, 4), dtype=torch.int64),
            torch.zeros(0),
            torch.zeros(0),
            torch.zeros((0, 2), dtype=torch.float64),
            torch.zeros((0, 4), dtype=torch.int64),
        )

    @staticmethod
    def concatenate(parts: Sequence["Candidates[M]"]) -> "Candidates[M]":
        parts = [Candidates.empty(), *parts]
        masks = [mask for part in parts for mask in part.masks]
        return Candidates(masks, *map(torch.cat, zip(*(part._numbers() for part in parts), strict=True)))
