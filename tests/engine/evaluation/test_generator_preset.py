"""What the benchmark of the generator's thresholds counts, by hand."""

import numpy as np
import torch

from benchmarks.generator_preset import Found, Setting, mean_f
from engine.evaluation.automatic import AutomaticScores

# Best first: the object, most of it again, an unstable one, and one that the model is unsure of but that is right.
FOUND = Found(
    boxes=torch.tensor([[0, 0, 10, 10], [0, 0, 10, 8], [30, 30, 40, 40], [50, 50, 60, 60]]),
    predicted_iou=torch.tensor([0.9, 0.8, 0.7, 0.4]),
    stability=torch.tensor([0.9, 0.9, 0.5, 0.9]),
    overlaps=np.array([[0.9, 0.0], [0.7, 0.0], [0.0, 0.2], [0.0, 0.8]]),
)


def _counts(setting: Setting) -> tuple[int, int, int]:
    scores = FOUND.scores(setting)
    return scores.masks, scores.right, scores.objects


def test_each_threshold_leaves_out_what_it_should() -> None:
    everything = Setting(0.3, 0.4, 0.3, 0.9)
    assert _counts(everything) == (4, 2, 2)
    assert _counts(everything._replace(box_nms_thresh=0.7)) == (3, 2, 2), "the boxes overlap by .8"
    assert _counts(everything._replace(stability_score_thresh=0.75)) == (3, 2, 2)
    assert _counts(everything._replace(pred_iou_thresh=0.5)) == (3, 1, 2)
    assert _counts(Setting(0.95, 0.4, 0.3, 0.9)) == (0, 0, 2)


def test_a_mask_is_suppressed_only_by_one_that_passes_itself() -> None:
    swapped = FOUND._replace(stability=torch.tensor([0.1, 0.9, 0.9, 0.9]))
    assert swapped.scores(Setting(0.3, 0.4, 0.3, 0.5)) == AutomaticScores(masks=3, right=2, objects=2, images=1)


def test_data_sets_weigh_the_same() -> None:
    assert mean_f({"a": AutomaticScores(1, 1, 1, 1), "b": AutomaticScores(100, 0, 100, 1)}) == 0.5
