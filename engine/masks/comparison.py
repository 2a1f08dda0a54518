"""How the masks of one run differ from those of another: what the contract `fast` costs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from engine import rle
from engine.masks.difference import SAME_MASK_IOU, MaskDifference
from engine.masks.generator import MaskGenerator
from model.predictor import Predictor
from schemas.presets import GeneratorConfig
from schemas.rle import Rle

SAMPLE_POINTS_PER_SIDE = 8


def compare_masks(found: Sequence[Rle], expected: Sequence[Rle]) -> MaskDifference:
    """How the masks found on a picture differ from those expected. Raises InputError if sizes differ."""
    overlaps = rle.iou_matrix(found, expected)
    pairs = linear_sum_assignment(overlaps, maximize=True)
    matched: npt.NDArray[np.float64] = overlaps[pairs]
    matched = matched[matched >= SAME_MASK_IOU]
    return MaskDifference(
        matched=len(matched),
        identical=int((matched == 1).sum()),
        lost=len(expected) - len(matched),
        extra=len(found) - len(matched),
        mean_iou=float(matched.mean()) if len(matched) else 1.0,
        least_iou=float(matched.min(initial=1.0)),
    )


def difference_to_exact(predictor: Predictor, config: GeneratorConfig, image: npt.NDArray[np.uint8]) -> MaskDifference:
    """What a predictor's contract changes on a picture, (H, W, 3) uint8 RGB: the same settings by `exact` beside it.

    A sample: a grid of SAMPLE_POINTS_PER_SIDE points on the full image, no crops.
    Raises InputError if the picture is none.
    """
    side = min(config.points_per_side, SAMPLE_POINTS_PER_SIDE)
    sample = config.model_copy(update={"points_per_side": side, "crop_n_layers": 0})
    found, expected = (
        [mask.rle for mask in MaskGenerator(each, sample).generate(image).masks]
        for each in (predictor, Predictor(predictor.sam))
    )
    return compare_masks(found, expected)
