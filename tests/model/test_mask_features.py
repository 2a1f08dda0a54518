"""What a verifier sees of a mask, on pictures whose features are known."""

import math

import numpy as np
import pytest
import torch

from model import mask_features as module
from model.mask_features import mask_features
from model.predictor import Predictor
from model.promptable import DecodedMasks
from schemas.errors import InputError
from tests.stages.workspaces import shapes, tiny_sam


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    made = Predictor(tiny_sam().eval())
    made.set_image(shapes(0)[0])
    return made


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((48, 56), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_the_outline_by_hand() -> None:
    mask = rectangle(0, 10, 8, 14)
    mask[12, 4] = False
    mask[30:32, 20:24] = True
    area = 8 * 4 - 1 + 8
    found = module._shape(mask)
    assert found[0] == pytest.approx(math.sqrt(area / (48 * 56)))
    assert found[2] == pytest.approx(math.log(area))
    assert found[3] == pytest.approx(math.log(24 / 22)), "width by height of the box"
    assert found[4] == pytest.approx(area / (24 * 22))
    assert found[5] == pytest.approx(1 - (area + 1) / (24 * 22)), "of the box neither mask nor hole"
    assert found[7:11] == pytest.approx([math.log(2), 31 / area, math.log(3), 1 / area]), "parts and holes"
    assert found[11:] == pytest.approx([1, 4 / 48]), "one edge of the picture, on 4 of its pixels"
    whole = module._shape(np.ones((48, 56), dtype=bool))
    assert whole[4:6] == [1, 0]
    assert whole[11:] == [4, 4]


def test_contrast_by_hand() -> None:
    """Two channels, one on within the mask and the other around it."""
    shares = torch.zeros(1, 16, 16)
    shares[:, 4:12, 4:12] = 1
    features = torch.stack([shares[0], 1 - shares[0]])
    inside_ring, inner_ring, inner_core, distance, spread, outer = module._contrast(features, shares)[0].tolist()
    assert [inside_ring, inner_ring, inner_core] == pytest.approx([0, 0, 1], abs=1e-6)
    assert distance == pytest.approx(math.sqrt(2 / features.var(dim=(1, 2)).sum().item()))
    assert [spread, outer] == pytest.approx([0, 0], abs=1e-6)
    shifted = torch.zeros(1, 16, 16)
    shifted[:, 4:12, 8:16] = 1
    assert module._contrast(features, shifted)[0, 1] > 0.5, "its border lies in the same on both sides"


def test_the_spread_of_nearly_even_features_is_more_than_rounding() -> None:
    """Features of 5 and 5.0001 by turns, in 256 channels: a difference of squares has no digit left."""
    features = torch.full((256, 8, 8), 5.0)
    features[:, :, ::2] += 1e-4
    shares = torch.zeros(2, 8, 8)
    shares[0], shares[1, 2:6, 2:6] = 1, 1
    step = float(features[0, 0, 0].double() - 5)
    found = module._spread(features, shares, module._mean(features, shares))
    torch.testing.assert_close(found, torch.full((2,), 16 * step / 2), rtol=1e-2, atol=0)


def test_each_mask_gives_what_it_gives_alone(predictor: Predictor) -> None:
    masks = [rectangle(5, 5, 20, 20), rectangle(30, 10, 31, 11), rectangle(0, 0, 56, 48)]
    iou, stability = [0.9, math.nan, 0.5], [0.8, math.nan, math.nan]
    together = mask_features(predictor, masks, iou, stability)
    assert torch.isfinite(together).all()
    for place, mask in enumerate(masks):
        alone = mask_features(predictor, [mask], [iou[place]], [stability[place]])
        torch.testing.assert_close(alone[0], together[place], rtol=1e-4, atol=1e-4)
    assert together[:, :4].tolist() == [
        pytest.approx([0.9, 0.8, 0, 0]),
        [0, 0, 1, 1],
        pytest.approx([0.5, 0, 0, 1]),
    ], "what is not known is said to be unknown"


def test_agreement_by_hand() -> None:
    """Two masks of one prompt, the more confident of which is a quarter of the given one, the other three of its four
    pixels and one more."""
    given = torch.tensor([[[True, True], [True, True], [False, False]]])
    confident = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [-1.0, -1.0]])
    nearer = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, -1.0]])
    prompted = DecodedMasks(torch.tensor([[0.9, 0.4]]), torch.stack([confident, nearer])[None])
    assert module._compared(prompted, given).tolist() == [pytest.approx([0.9, 1 / 4, 3 / 5, 0.4])]


def test_prompts_are_the_box_and_the_middle() -> None:
    mask = rectangle(10, 20, 31, 27)
    assert module._box(mask).tolist() == [10, 20, 31, 27]
    x, y = module._middle(mask)
    assert y == 23
    assert 13 <= x <= 27


@pytest.mark.parametrize("mask", [np.zeros((48, 56), dtype=bool), np.ones((48, 48), dtype=bool)])
def test_a_mask_that_cannot_be_looked_at(predictor: Predictor, mask: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected masks"):
        mask_features(predictor, [mask], [0.5], [0.5])
