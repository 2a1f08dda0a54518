"""What chooses among proposed masks by text (`engine.fast_sam.TextScores`).

Shapes: M masks of a picture (H, W), N texts.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from engine.fast_sam import Image, TextScores
from model.predictor import Predictor
from model.text_encoders import PictureTextEncoder

_WHITE = 255


def clip_scores(encoder: PictureTextEncoder) -> TextScores:
    """As published: how near the picture of each mask, cut out on white, is to each text."""

    def scores(image: Image, masks: npt.NDArray[np.bool_], texts: Sequence[str]) -> npt.NDArray[np.float64]:
        pictures = encoder.encode_pictures([_cut_out(image, mask) for mask in masks])
        near: npt.NDArray[np.float64] = (encoder.encode(texts) @ pictures.T).double().numpy()
        return near

    return scores


def head_scores(predictor: Predictor) -> TextScores:
    """By a model with a text head: of each mask the sum over its pixels of how surely they belong to the text."""

    def scores(image: Image, masks: npt.NDArray[np.bool_], texts: Sequence[str]) -> npt.NDArray[np.float64]:
        predictor.set_image(image)
        logits = predictor.upscale(predictor.find_texts(texts).logits[:, None])[:, 0].cpu()
        inside = torch.from_numpy(masks).flatten(1).to(logits.dtype)
        fits: npt.NDArray[np.float64] = (logits.flatten(1) @ inside.T).double().numpy()
        return fits

    return scores


def _cut_out(image: Image, mask: npt.NDArray[np.bool_]) -> Image:
    """The part of a picture in the box of a mask, white outside of the mask; one white pixel for an empty one."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return np.full((1, 1, 3), _WHITE, dtype=np.uint8)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    part = np.array(image[box])
    part[~mask[box]] = _WHITE
    return part
