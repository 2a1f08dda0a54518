"""Weights between two models."""

import pytest
import torch

from model.training.averaging import interpolated


def test_numbers_go_part_of_the_way_and_counters_are_the_later_ones() -> None:
    start = {"weight": torch.tensor([0.0, 4.0]), "steps": torch.tensor(3)}
    end = {"weight": torch.tensor([8.0, 0.0]), "steps": torch.tensor(9)}
    found = interpolated(start, end, share=0.25)
    assert found["weight"].tolist() == [2.0, 3.0]
    assert found["steps"].item() == 9
    assert torch.equal(interpolated(start, end, share=1.0)["weight"], end["weight"])
    assert torch.equal(interpolated(start, end, share=0.0)["weight"], start["weight"])
    assert start["weight"].tolist() == [0.0, 4.0]


def test_models_of_two_architectures_have_nothing_between_them() -> None:
    with pytest.raises(ValueError, match="two architectures"):
        interpolated({"weight": torch.zeros(2)}, {"weight": torch.zeros(3)}, share=0.5)
    with pytest.raises(ValueError, match="two architectures"):
        interpolated({"weight": torch.zeros(2)}, {"bias": torch.zeros(2)}, share=0.5)
