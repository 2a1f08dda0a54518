"""Two classical segmenters as yardsticks: a small model that does not beat them has learned nothing worth shipping."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
from skimage.segmentation import felzenszwalb

from engine.evaluation.boxes import tight_box
from engine.evaluation.points import Choose, centre_point
from engine.evaluation.scores import PromptScores, joined, mask_iou
from model.training.samples import Sample, decode_masks

Mask = npt.NDArray[np.bool_]
FELZENSZWALB_SCALES = (50, 200, 800)
_SIGMA, _MIN_SIZE_PX = 0.8, 50
_GRABCUT_ROUNDS = 5


def felzenszwalb_at_points(samples: Iterable[Sample], *, choose: Choose = centre_point) -> PromptScores | None:
    """Graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004) at three scales, the segment under the point.

    choose: the point of a mask, by default the first one of the paper's protocol.
    oracle: the best of the three scales; confident: the middle one.
    Returns None where there is no mask at all.
    """
    parts = []
    for image, truths in _decoded(samples):
        labels = np.stack(
            [felzenszwalb(image, scale=s, sigma=_SIGMA, min_size=_MIN_SIZE_PX) for s in FELZENSZWALB_SCALES]
        )
        ious = []
        for truth in truths:
            x, y = choose(truth)
            ious.append([mask_iou(of_scale == of_scale[y, x], truth) for of_scale in labels])
        found = np.array(ious)
        parts.append(PromptScores(found[:, len(FELZENSZWALB_SCALES) // 2], found.max(1)))
    return joined(parts) if parts else None


def grabcut_from_boxes(samples: Iterable[Sample]) -> PromptScores | None:
    """GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004) as OpenCV has it, started from the mask's tight box.

    It gives one mask, so confident and oracle are the same. Returns None where there is no mask at all.
    """
    parts = []
    for image, truths in _decoded(samples):
        ious = np.array([mask_iou(grabcut(image, tight_box(truth)), truth) for truth in truths])
        parts.append(PromptScores(ious, ious))
    return joined(parts) if parts else None


def grabcut(image: npt.NDArray[np.uint8], box_xyxy: tuple[int, int, int, int]) -> Mask:
    """The foreground (H, W) that GrabCut finds in a box of a picture (H, W, 3).

    A box that leaves no background to learn from, or too few pixels for the colour models, is the answer itself.
    """
    x0, y0, x1, y1 = box_xyxy
    inside = np.zeros(image.shape[:2], dtype=bool)
    inside[y0 : y1 + 1, x0 : x1 + 1] = True
    state = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(image, state, None, background, foreground, _GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return inside
    return np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _decoded(samples: Iterable[Sample]) -> Iterator[tuple[npt.NDArray[np.uint8], list[Mask]]]:
    for sample in samples:
        if sample.masks:
            yield sample.image, list(np.moveaxis(decode_masks(sample.masks).astype(bool), 2, 0))
