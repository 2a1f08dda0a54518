"""Masks as the only prompt: what is given, what comes back, and by size."""

import numpy as np
import pytest
import torch

from engine.evaluation.mask_prompts import as_mask_inputs, evaluate_mask_prompts, size_of
from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from model.prompts import CERTAIN_LOGIT
from model.training.samples import Sample
from tests.engine.evaluation.fakes import ThreeHalves, coco_rle, rectangle


class Echo(ThreeHalves):
    """Gives back what it is given, less what it does not see: the right half of its input."""

    def decode(  # type: ignore[override]
        self, embedding: None, *, points: None, boxes: None, masks: torch.Tensor, multimask_output: bool
    ) -> MaskPrediction:
        assert points is None
        assert boxes is None
        assert not multimask_output
        answer = masks.clone()
        answer[..., 8:] = -1
        return MaskPrediction(answer, torch.full((len(masks), 1), 0.9))


def _predictor(image: np.ndarray) -> Predictor:
    predictor = Predictor(Echo())
    predictor.set_image(image)
    return predictor


def test_a_mask_goes_in_as_logits_of_how_much_of_a_pixel_it_covers() -> None:
    predictor = _predictor(np.zeros((32, 64, 3), np.uint8))  # as large as the input, with padding below
    given = as_mask_inputs(predictor, [rectangle(slice(4, 8), slice(8, 18), (32, 64))])[0]
    assert given.shape == (16, 16)
    assert given[1].tolist() == pytest.approx([-10, -10, 10, 10, 0, *[-10] * 11])
    assert (given[torch.arange(16) != 1] == -CERTAIN_LOGIT).all()


def test_what_comes_back_is_compared_with_what_was_given() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    kept, halved = rectangle(slice(16, 48), slice(0, 16)), rectangle(slice(16, 48), slice(16, 48))
    scores = evaluate_mask_prompts(Predictor(Echo()), [Sample(image, [coco_rle(kept), coco_rle(halved)])])
    assert scores["all"].confident[0] > 0.9
    assert scores["all"].confident[1] == pytest.approx(0.5, abs=0.06)
    assert scores["all"].predicted is not None
    assert scores["all"].predicted.tolist() == pytest.approx([0.9, 0.9])
    assert set(scores) == {"all", "large"}


def test_sizes_are_shares_of_the_picture() -> None:
    picture = (100, 100)
    assert size_of(rectangle(slice(0, 1), slice(0, 19), picture)) == "small"
    assert size_of(rectangle(slice(0, 1), slice(0, 20), picture)) == "medium"
    assert size_of(rectangle(slice(0, 2), slice(0, 100), picture)) == "medium"
    assert size_of(rectangle(slice(0, 3), slice(0, 67), picture)) == "large"


def test_samples_without_masks_give_no_scores() -> None:
    assert evaluate_mask_prompts(Predictor(Echo()), [Sample(np.zeros((8, 8, 3), np.uint8), [])]) == {}
