"""The simulated person at the verification gate."""

import numpy as np
import pytest

from engine import rle as rle_codec
from schemas.rle import Rle
from stages.simulated_verifier import SimulatedVerifier


def strip(width: int) -> Rle:
    mask = np.zeros((10, 100), dtype=bool)
    mask[:, :width] = True
    return rle_codec.encode(mask)


def test_answers_by_hand() -> None:
    people = SimulatedVerifier(accept_iou=0.8)
    truth = [strip(100), strip(20)]
    # IoU with the nearer object: 1, .8, .79, .5, .49.
    masks = [strip(width) for width in (20, 80, 79, 50, 49)]
    assert people.answers(masks, truth) == ["good", "good", "bad", "bad", "reject"]
    assert people.answers(masks[:2], []) == ["reject", "reject"]
    assert people.answers([], truth) == []


def test_errors_are_as_many_as_told_and_stay_the_same() -> None:
    masks = [strip(width) for width in range(1, 100)]
    truth = [strip(100)]
    right = SimulatedVerifier(0.5).answers(masks, truth)
    wrong = SimulatedVerifier(0.5, error_frac=0.3, seed=1).answers(masks, truth)
    turned = [one != other for one, other in zip(right, wrong, strict=True)]
    assert np.mean(turned) == pytest.approx(0.3, abs=0.12)
    assert SimulatedVerifier(0.5, error_frac=0.3, seed=1).answers(masks[::-1], truth) == wrong[::-1]
    assert SimulatedVerifier(0.5, error_frac=0.3, seed=2).answers(masks, truth) != wrong
    everything_wrong = SimulatedVerifier(0.5, error_frac=1.0).answers(masks, truth)
    assert all((one == "good") != (other == "good") for one, other in zip(right, everything_wrong, strict=True))
