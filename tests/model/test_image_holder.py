"""The picture in use: how it comes to the model, and how one comes back to it."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from model.predictor import Predictor
from schemas.errors import InputError, WaitError
from tests.model.small_models import NotingModel, photo, small_sam


@pytest.fixture
def model() -> NotingModel:
    return NotingModel()


@pytest.fixture
def predictor(model: NotingModel) -> Predictor:
    """With a picture 100 wide and 50 high, which the model sees as 64 by 32."""
    predictor = Predictor(model)
    predictor.set_image(photo(50, 100))
    return predictor


def test_coming_back_to_a_picture_does_not_encode_it_again(predictor: Predictor, model: NotingModel) -> None:
    first = predictor.encoded
    predictor.set_image(photo(40, 20))
    assert (predictor.image_hw, predictor.input_hw) == ((40, 20), (64, 32))
    predictor.set_embedding(first)
    assert (predictor.image_hw, predictor.input_hw) == ((50, 100), (32, 64))
    predictor.predict(box=[0, 0, 9, 9])
    assert model.decoded[-1]["embedding"] == 1
    assert len(model.encoded) == 2


def test_the_model_gets_channels_first(predictor: Predictor, model: NotingModel) -> None:
    (pixels,) = model.encoded
    expected = np.array(Image.fromarray(photo(50, 100)).resize((64, 32), Image.Resampling.BILINEAR))
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, torch.from_numpy(expected).permute(2, 0, 1)[None])


def test_pictures_encoded_together_are_encoded_as_alone() -> None:
    real = Predictor(small_sam())
    pictures = [photo(50, 100), photo(80, 30), photo(1, 7)]
    together = real.encode_images(pictures)
    assert [each.image_hw for each in together] == [(50, 100), (80, 30), (1, 7)]
    for picture, encoded in zip(pictures, together, strict=True):
        real.set_image(picture)
        torch.testing.assert_close(encoded.embedding.features, real.encoded.embedding.features, atol=1e-4, rtol=1e-4)
    assert real.encode_images([]) == []


def test_asking_before_an_image_is_set(model: NotingModel) -> None:
    with pytest.raises(WaitError, match="set_image"):
        Predictor(model).predict([[1, 2]], [1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), dtype=np.float32), "expected uint8 in 0..255, found float32"),
        (np.zeros((4, 4), dtype=np.uint8), r"expected \(height, width, 3\) RGB, found shape \(4, 4\)"),
        (np.zeros((4, 4, 4), dtype=np.uint8), r"found shape \(4, 4, 4\)"),
        (np.zeros((3, 4, 5), dtype=np.uint8), r"found shape \(3, 4, 5\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"found shape \(0, 4, 3\)"),
        ([[0, 0, 0]], "expected a numpy array .* found list"),
    ],
)
def test_what_is_no_image(predictor: Predictor, image: Any, message: str) -> None:
    before = predictor.encoded
    with pytest.raises(InputError, match=message):
        predictor.set_image(image)
    assert predictor.encoded is before


def test_upscaling_cuts_the_padding_off_between_two_steps(predictor: Predictor) -> None:
    logits = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    padded = F.interpolate(logits, (64, 64), mode="bilinear")
    expected = F.interpolate(padded[:, :, :32, :64], (50, 100), mode="bilinear")
    assert torch.equal(predictor.upscale(logits), expected)


def test_upscaling_keeps_a_constant(predictor: Predictor) -> None:
    assert torch.equal(predictor.upscale(torch.full((1, 1, 16, 16), 3.0)), torch.full((1, 1, 50, 100), 3.0))
