"""Training a text head: what it learns from, and that it learns."""

import numpy as np
import pytest
import torch

from model.predictor import Predictor
from model.text_head import TextHead
from model.text_training import TextSample, TextTraining, _rate, encode_text_sample, train_text_head
from tests.stages.workspaces import tiny_sam

WORDS = torch.eye(4)[:3, None].repeat(1, 2, 1)  # three texts, two wordings each


def lesson(seed: int) -> TextSample:
    """Features whose channel 0 marks the left half and channel 1 the right one: texts 0 and 1; text 2 is not there."""
    generator = torch.Generator().manual_seed(seed)
    features = 0.1 * torch.randn(256, 4, 4, generator=generator)
    features[0, :, :2] += 3
    features[1, :, 2:] += 3
    covered = torch.zeros(2, 8, 8, dtype=torch.uint8)
    covered[0, :, :4] = covered[1, :, 4:] = 255
    return TextSample(features.half(), (8, 8), torch.tensor([0, 1]), covered, torch.tensor([2]))


TRAINING = TextTraining(passes=30, batch_size=4, warmup_steps=5, width=16, lr=5e-3, dropout=0.0)


@pytest.fixture(scope="module")
def head() -> TextHead:
    return train_text_head([lesson(seed) for seed in range(8)], WORDS, TRAINING)


def test_it_learns_where_texts_are_and_which_are_there(head: TextHead) -> None:
    with torch.no_grad():
        logits = head(head.look(lesson(99).features[None].float()), WORDS[:, 0])
        there = head.is_there(logits).sigmoid()
    assert (logits[0, :, :2] > 0).all()
    assert (logits[0, :, 2:] < 0).all()
    assert (logits[1, :, 2:] > 0).all()
    assert (logits[2] < 0).all()
    assert there[:2].min() > 0.5 > there[2]


def test_the_same_seed_gives_the_same_head_and_steps_are_told(head: TextHead) -> None:
    told: list[tuple[int, int]] = []
    torch.manual_seed(123)  # what happens elsewhere does not matter
    again = train_text_head(
        [lesson(seed) for seed in range(8)],
        WORDS,
        TRAINING,
        on_step=lambda done, steps, loss: told.append((done, steps)),
    )
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in head.state_dict().items())
    assert told == [(step, 60) for step in range(1, 61)]


def test_rates_rise_and_fall() -> None:
    rates = [_rate(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1, abs=0.03)
    assert rates[-1] < 0.001


def test_a_picture_as_it_is_learned_from() -> None:
    predictor = Predictor(tiny_sam())  # 64 px, so 4 x 4 of embedding and 8 x 8 of what is learned
    image = np.zeros((32, 64, 3), dtype=np.uint8)
    left = np.zeros((32, 64), dtype=bool)
    left[:, :32] = True
    found = encode_text_sample(predictor, image, [left, ~left], present=[5, 7], absent=[1])
    assert found.features.shape == (256, 4, 4)
    assert found.features.dtype == torch.float16
    assert found.shown == (4, 8)
    assert (found.present.tolist(), found.absent.tolist()) == ([5, 7], [1])
    expected = torch.zeros(2, 8, 8, dtype=torch.uint8)
    expected[0, :4, :4] = expected[1, :4, 4:] = 255
    assert torch.equal(found.covered, expected)
