"""Pictures of plain discs on a dark ground, with their masks: enough for a small model to learn from in seconds."""

import numpy as np
from pycocotools import mask as coco_mask

from model.training.samples import Sample
from schemas.rle import CocoRle


def compress(mask: np.ndarray) -> CocoRle:
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"]}


class Shapes:
    """`count` pictures of 64 px, each with three discs of their own colour."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((7, index))
        image = np.full((64, 64, 3), 40, np.uint8)
        rows, columns = np.mgrid[:64, :64]
        masks = []
        for x, y in ((16, 16), (48, 20), (30, 48)):
            radius = rng.integers(7, 13)
            disc = (columns - x - rng.integers(-3, 4)) ** 2 + (rows - y - rng.integers(-3, 4)) ** 2 < radius**2
            image[disc] = rng.integers(100, 255, size=3)
            masks.append(compress(disc))
        return Sample(image, masks)
