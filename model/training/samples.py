"""What training reads: a picture with its masks, and batches made of several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from model.training.bad_samples import BadSample
from schemas.rle import CocoRle


class MaskFacts(NamedTuple):
    """What the ground truth says of a mask beside its pixels; "" and None where it says nothing.

    frequency: of its category as LVIS counts it, "f", "c" or "r". label: what it shows, in words.
    """

    annotator: str = ""
    category_id: int | str | None = None
    frequency: str = ""
    label: str = ""


@dataclass(frozen=True)
class Sample:
    """A picture (H, W, 3) uint8 RGB and its masks, compressed: only those that a step picks are ever decoded.

    The picture may be smaller than its masks, where it was decoded at a fraction of its size. name: for messages.
    image_id: of its COCO file. facts: of each mask, empty where nothing is known. crowds: regions of groups, which
    are no masks to find, with their facts.
    """

    image: np.ndarray
    masks: Sequence[CocoRle]
    name: str = ""
    image_id: int | str | None = None
    facts: Sequence[MaskFacts] = ()
    crowds: Sequence[tuple[CocoRle, MaskFacts]] = ()

    @property
    def known_facts(self) -> Sequence[MaskFacts]:
        """One for each mask."""
        return self.facts or [MaskFacts()] * len(self.masks)

    @property
    def full_hw(self) -> tuple[int, int]:
        """(height, width) of the masks, and of the picture in its file."""
        if not self.masks:
            return self.image.shape[0], self.image.shape[1]
        height, width = self.masks[0]["size"]
        return height, width


class SampleSource(Protocol):
    """Anything that training can read: a snapshot of a store, a COCO file, a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Picture(NamedTuple):
    """What a step trains on of one sample: image (S, S, 3) uint8, masks (N, S, S) bool.

    slot: its place among all pictures of the step. sample: its index in the source.
    """

    image: np.ndarray
    masks: np.ndarray
    slot: int
    sample: int


@dataclass(frozen=True)
class Batch:
    """B pictures and N masks over all of them.

    images: (B, 3, S, S) uint8. masks: (N, S, S) bool. image_index: (N,) int64, the picture of each mask, rising.
    slots, samples: (B,) int64, as in `Picture`. skipped: what was drawn for it, but cannot be trained on.
    """

    images: Tensor
    masks: Tensor
    image_index: Tensor
    slots: Tensor
    samples: Tensor
    skipped: tuple[BadSample, ...] = ()

    def parts(self, images_at_once: int | None) -> "Iterator[Batch]":
        """The same in batches of at most that many pictures, without batches that have no mask."""
        size = images_at_once or len(self.images)
        for first in range(0, len(self.images), size):
            rows = (self.image_index >= first) & (self.image_index < first + size)
            some = slice(first, first + size)
            index = self.image_index[rows] - first
            if rows.any():
                yield Batch(self.images[some], self.masks[rows], index, self.slots[some], self.samples[some])

    def with_masks_multiple_of(self, multiple: int) -> "Batch":
        """The same without its last masks, so that their number is a multiple; with all where there are too few."""
        count = len(self.masks) // multiple * multiple or len(self.masks)
        return replace(self, masks=self.masks[:count], image_index=self.image_index[:count])

    def masks_of(self, picture: int) -> int:
        """How many masks a picture of the batch has."""
        return int((self.image_index == picture).sum())

    def pin_memory(self) -> "Batch":
        """In memory that a GPU copies from directly; called by the loader."""
        return replace(self, images=self.images.pin_memory(), masks=self.masks.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """Pictures and masks on a device; slots and samples stay where they are."""
        images, masks, index = (
            part.to(device, non_blocking=True) for part in (self.images, self.masks, self.image_index)
        )
        return Batch(images, masks, index, self.slots, self.samples)


def decode_masks(masks: Sequence[CocoRle]) -> np.ndarray:
    """Decode N masks of one picture to (H, W, N) uint8, 0 or 1."""
    return coco_mask.decode(list(masks))


def collate(pictures: Sequence[Picture]) -> Batch:
    """Stack pictures of one side, with their masks."""
    images = torch.from_numpy(np.stack([picture.image for picture in pictures])).permute(0, 3, 1, 2).contiguous()
    masks = torch.from_numpy(np.concatenate([picture.masks for picture in pictures]))
    counts = torch.tensor([len(picture.masks) for picture in pictures])
    return Batch(
        images,
        masks,
        torch.repeat_interleave(torch.arange(len(pictures)), counts),
        torch.tensor([picture.slot for picture in pictures]),
        torch.tensor([picture.sample for picture in pictures]),
    )
