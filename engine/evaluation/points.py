"""Segmentation from simulated clicks (SAM paper, section 7.1 and appendix D.1).

The first click lies in the ground-truth mask, farthest from its boundary; each further one in the error region between
the last prediction and ground truth, farthest from that region's boundary. One click gets three masks; "confident" is
the one with the highest predicted IoU, "oracle" the best of the three. With more clicks the model gives one mask.
"""

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
import torch

from engine.evaluation.scores import PromptScores, joined, mask_iou
from model.predictor import Predictor
from model.training.samples import Sample, decode_masks

PROMPTS_AT_ONCE = 16
Choose = Callable[[np.ndarray], tuple[int, int]]


def centre_point(region: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) of a region (H, W) bool that lies farthest from its boundary; the picture's edge is boundary.

    Raises ValueError where the region is empty.
    """
    if not region.any():
        raise ValueError("an empty region has no centre")
    distance = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(distance[1:-1, 1:-1].argmax(), region.shape)
    return int(column), int(row)


def evaluate_points(
    predictor: Predictor,
    samples: Iterable[Sample],
    *,
    clicks: Sequence[int] = (1,),
    choose: Choose = centre_point,
    first: Choose | None = None,
) -> dict[int, PromptScores]:
    """Click on every mask of every sample and measure; clicks are the numbers to report, for example (1, 2, 3, 5, 9).

    choose: the point of a region to click on. first: that of a mask for the first click, None for `choose`; the paper's
    variant has `random_point` there, while further clicks still go to the centre of the error region.
    Returns {number of clicks: scores}; empty where there is no mask at all.
    """
    found: dict[int, list[PromptScores]] = {count: [] for count in clicks}
    for sample in samples:
        if sample.masks:
            predictor.set_image(sample.image)
        for count, scores in click_on_masks(predictor, sample, clicks=clicks, choose=choose, first=first).items():
            found[count].append(scores)
    return {count: joined(scores) for count, scores in found.items() if scores}


def click_on_masks(
    predictor: Predictor,
    sample: Sample,
    *,
    clicks: Sequence[int],
    choose: Choose = centre_point,
    first: Choose | None = None,
) -> dict[int, PromptScores]:
    """As `evaluate_points`, of one sample whose picture the predictor has in use; empty where it has no mask."""
    found: dict[int, list[PromptScores]] = {count: [] for count in clicks}
    for start in range(0, len(sample.masks), PROMPTS_AT_ONCE):
        decoded = decode_masks(sample.masks[start : start + PROMPTS_AT_ONCE]).astype(bool)
        truths = list(np.moveaxis(decoded, 2, 0))
        for count, scores in _click(predictor, truths, clicks, choose, first or choose).items():
            found[count].append(scores)
    return {count: joined(scores) for count, scores in found.items() if scores}


def random_point(seed: int) -> Choose:
    """Chooses any pixel (x, y) of a region (H, W) bool with the same chance. Regions without any raise ValueError."""
    rng = np.random.default_rng(seed)

    def choose(region: np.ndarray) -> tuple[int, int]:
        pixels = np.flatnonzero(region)
        if not len(pixels):
            raise ValueError("an empty region has no point")
        row, column = np.unravel_index(pixels[rng.integers(len(pixels))], region.shape)
        return int(column), int(row)

    return choose


def next_click(truth: np.ndarray, predicted: np.ndarray, choose: Choose = centre_point) -> tuple[tuple[int, int], int]:
    """The click that corrects a prediction: a pixel (x, y) of the error region, and its label.

    truth, predicted: (H, W) bool. choose: the point of a region. Label 1 where the prediction misses, 0 where it
    spills; for a perfect prediction, a point of the mask again.
    """
    missed, spilled = truth & ~predicted, predicted & ~truth
    errors = missed | spilled
    if not errors.any():
        return choose(truth), 1
    column, row = choose(errors)
    return (column, row), int(truth[row, column])


def _click(
    predictor: Predictor, truths: list[np.ndarray], clicks: Sequence[int], choose: Choose, first: Choose
) -> dict[int, PromptScores]:
    """Scores of N masks of the picture in use, after each asked count."""
    points = np.array([[first(truth)] for truth in truths], dtype=np.float32)
    labels = np.ones((len(truths), 1), dtype=np.int64)
    mask_inputs = None
    scores = {}
    for count in range(1, max(clicks) + 1):
        low_res = predictor.predict_low_res(points, labels, mask_inputs=mask_inputs, multimask_output=count == 1)
        masks = (predictor.upscale(low_res.logits) > predictor.sam.mask_threshold).cpu().numpy()
        ious = np.array([[mask_iou(mask, truth) for mask in three] for three, truth in zip(masks, truths, strict=True)])
        best = low_res.predicted_iou.argmax(1).cpu().numpy()
        rows = np.arange(len(truths))
        if count in clicks:
            predicted = low_res.predicted_iou.cpu().numpy()[rows, best]
            scores[count] = PromptScores(ious[rows, best], ious.max(1), predicted)
        if count < max(clicks):
            mask_inputs = low_res.logits[torch.from_numpy(rows), torch.from_numpy(best)][:, None]
            added = [next_click(truth, mask, choose) for truth, mask in zip(truths, masks[rows, best], strict=True)]
            points = np.concatenate([points, np.array([[point] for point, _ in added], dtype=np.float32)], axis=1)
            labels = np.concatenate([labels, np.array([[label] for _, label in added])], axis=1)
    return scores
