"""Clicks placed by hand-checked rules, and scores of models whose answers are known."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from engine.evaluation.bootstrap import bootstrap_mean
from engine.evaluation.points import centre_point, evaluate_points, next_click
from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from model.training.samples import Sample


def _mask(rows: slice, columns: slice, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


def test_the_centre_is_farthest_from_the_boundary_and_the_picture_edge_counts_as_one() -> None:
    assert centre_point(_mask(slice(10, 21), slice(30, 41))) == (35, 15)
    assert centre_point(_mask(slice(0, 11), slice(0, 11))) == (5, 5)
    with pytest.raises(ValueError, match="empty region"):
        centre_point(np.zeros((4, 4), dtype=bool))


def test_the_next_click_goes_to_the_largest_error_and_knows_its_kind() -> None:
    truth = _mask(slice(10, 40), slice(10, 40))
    missed = _mask(slice(10, 40), slice(10, 20))
    assert next_click(truth, truth & ~missed) == ((14, 14), 1) or next_click(truth, truth & ~missed)[1] == 1
    spilled = _mask(slice(41, 62), slice(41, 62))
    assert next_click(truth, truth | spilled) == ((51, 51), 0)
    assert next_click(truth, truth) == (centre_point(truth), 1)


class _ThreeBoxes:
    """Answers every first click with three known masks, later ones with the best of them."""

    image_size = 64
    mask_threshold = 0.0
    device = torch.device("cpu")

    def preprocess(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def encode(self, pixels: torch.Tensor) -> None:
        return None

    def decode(self, embedding: None, *, multimask_output: bool, **prompts: object) -> MaskPrediction:
        halves = [torch.full((16, 16), -1.0) for _ in range(3)]
        halves[0][4:12, 4:8] = 1  # half of the truth
        halves[1][4:12, 4:12] = 1  # all of it
        halves[2][:, :] = 1  # the whole picture
        points = prompts["points"]
        assert isinstance(points, tuple)
        count = len(points[0])
        chosen = torch.stack(halves) if multimask_output else torch.stack(halves[1:2])
        predicted = torch.tensor([0.9, 0.6, 0.2] if multimask_output else [0.8])
        return MaskPrediction(chosen.repeat(count, 1, 1, 1), predicted.repeat(count, 1))


def test_confident_is_the_models_choice_and_oracle_the_best() -> None:
    truth = _mask(slice(16, 48), slice(16, 48))
    encoded = coco_mask.encode(np.asfortranarray(truth, dtype=np.uint8))
    sample = Sample(np.zeros((64, 64, 3), np.uint8), [encoded, encoded])
    scores = evaluate_points(Predictor(_ThreeBoxes()), [sample], clicks=(1, 2))
    assert scores[1].confident_miou == pytest.approx(0.5, abs=0.05)
    assert scores[1].oracle_miou > 0.9
    assert scores[1].predicted_iou_error == pytest.approx(0.4, abs=0.05)
    assert len(scores[1].confident) == 2
    assert scores[2].confident_miou == scores[2].oracle_miou > 0.9


def test_samples_without_masks_give_no_scores() -> None:
    assert evaluate_points(Predictor(_ThreeBoxes()), [Sample(np.zeros((8, 8, 3), np.uint8), [])]) == {}


def test_bootstrap_interval_holds_the_mean_and_shrinks_with_more_values() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(40), rng.random(4000)
    low, high = bootstrap_mean(few)
    assert low < few.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * few.std() / np.sqrt(40), rel=0.15)
    narrow = bootstrap_mean(many)
    assert narrow[1] - narrow[0] < (high - low) / 5
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean(np.array([]))
