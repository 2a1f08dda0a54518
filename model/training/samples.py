"""What training reads: a picture with its masks, and batches made of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor


class CocoRle(TypedDict):
    """A mask as pycocotools takes it: size [height, width] and compressed counts."""

    size: list[int]
    counts: bytes


@dataclass(frozen=True)
class Sample:
    """A picture (H, W, 3) uint8 RGB and its masks, compressed: only those that a step picks are ever decoded."""

    image: np.ndarray
    masks: Sequence[CocoRle]


class SampleSource(Protocol):
    """Anything that training can read: a snapshot of a store, a COCO file, a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Batch:
    """B pictures and N masks over all of them.

    images: (B, 3, S, S) uint8. masks: (N, S, S) bool. image_index: (N,) int64, the picture of each mask.
    """

    images: Tensor
    masks: Tensor
    image_index: Tensor


def decode_masks(masks: Sequence[CocoRle]) -> np.ndarray:
    """Decode N masks of one picture to (H, W, N) uint8, 0 or 1."""
    return coco_mask.decode(list(masks))


def collate(pictures: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Stack pictures (S, S, 3) uint8 with their masks (N_i, S, S) bool."""
    images = torch.from_numpy(np.stack([image for image, _ in pictures])).permute(0, 3, 1, 2).contiguous()
    masks = torch.from_numpy(np.concatenate([masks for _, masks in pictures]))
    counts = torch.tensor([len(masks) for _, masks in pictures])
    return Batch(images, masks, torch.repeat_interleave(torch.arange(len(pictures)), counts))
