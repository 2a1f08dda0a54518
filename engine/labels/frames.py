"""Masks drawn on the pixels that a photo stores, turned with the photo (EXIF orientation).

Some tools draw on the stored pixels, others on the upright picture, and no label file says which.
"""

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.orientation import TURNED, upright
from schemas.errors import InputError
from schemas.rle import Rle

MaskFrame = Literal["auto", "stored", "upright"]

# Edges of masks lie on steeper places than they would by chance; on photographs the right frame had
# 5 % more of it in 98 of 100 cases (docs/ingest.md). Less than this decides nothing.
_MIN_EVIDENCE = 0.05
_LONGEST_PX = 1024
_MAX_MASKS = 40
_BLUR_PX = 1.5


def upright_masks(
    masks: Sequence[Rle], image: npt.NDArray[np.uint8], *, orientation: int, frame: MaskFrame = "auto"
) -> list[Rle]:
    """The masks of one picture, all of one size, in the frame of the upright picture.

    image: (H, W, 3), upright. orientation: of its file, 1 to 8. frame: in which the masks were drawn. "auto" tells it
    by the size; where both fit, by which of the two has the edges of the masks on edges of the picture.
    Masks of another size than both are given back as they are.
    Raises InputError where that does not decide, or where `frame` does not fit the size.
    """
    if orientation == 1 or not masks or frame == "upright":
        return list(masks)
    upright_hw = image.shape[:2]
    stored_hw = upright_hw[::-1] if orientation in TURNED else upright_hw
    size = (masks[0].height, masks[0].width)
    if size != stored_hw:
        if frame == "stored" and size == upright_hw:
            raise InputError(
                "the mask has the size of the upright picture, not of the stored one; --mask-frame upright"
            )
        return list(masks)
    turned = [rle_codec.encode(np.ascontiguousarray(upright(rle_codec.decode(mask), orientation))) for mask in masks]
    if frame == "stored" or size != upright_hw or turned == list(masks):
        return turned
    evidence = _evidence(turned, image) - _evidence(masks, image)
    if abs(evidence) < _MIN_EVIDENCE:
        raise InputError(
            f"the picture is turned by EXIF orientation {orientation}, and whether its masks are too cannot be told; "
            "say it with --mask-frame stored or --mask-frame upright"
        )
    return turned if evidence > 0 else list(masks)


def _evidence(masks: Sequence[Rle], image: npt.NDArray[np.uint8]) -> float:
    """Logarithm of how steep the picture is on the edges of the masks, the largest of them; 0 where it is nowhere."""
    step = math.ceil(max(image.shape[:2]) / _LONGEST_PX)
    steepness = _steepness(image, step)
    largest = sorted(masks, key=rle_codec.area, reverse=True)[:_MAX_MASKS]
    total, count = 0.0, 0
    for mask in largest:
        edge = _edges(rle_codec.decode(mask)[::step, ::step])
        total, count = total + float(steepness[edge].sum()), count + int(edge.sum())
    return math.log(total / count) if total > 0 else 0.0


def _steepness(image: npt.NDArray[np.uint8], step: int) -> npt.NDArray[np.float32]:
    height, width = image[::step, ::step].shape[:2]
    grey = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32).mean(axis=2)
    down, right = np.gradient(cv2.GaussianBlur(grey, (0, 0), _BLUR_PX))
    return np.asarray(np.sqrt(np.hypot(down, right)), dtype=np.float32)


def _edges(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels that have a neighbour of the other kind, above, below, left or right."""
    edges = np.zeros_like(mask)
    for along, across in ((edges, mask), (edges.T, mask.T)):
        differs = across[1:] != across[:-1]
        along[1:] |= differs
        along[:-1] |= differs
    return edges
