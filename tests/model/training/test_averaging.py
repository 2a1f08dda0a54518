"""Weights between two models."""

import pytest
import torch

from model.training.averaging import interpolated, length_share, merged


def test_numbers_go_part_of_the_way_and_counters_are_the_later_ones() -> None:
    start = {"weight": torch.tensor([0.0, 4.0]), "steps": torch.tensor(3)}
    end = {"weight": torch.tensor([8.0, 0.0]), "steps": torch.tensor(9)}
    found = interpolated(start, end, share=0.25)
    assert found["weight"].tolist() == [2.0, 3.0]
    assert found["steps"].item() == 9
    assert torch.equal(interpolated(start, end, share=1.0)["weight"], end["weight"])
    assert torch.equal(interpolated(start, end, share=0.0)["weight"], start["weight"])
    assert start["weight"].tolist() == [0.0, 4.0]


def test_each_weight_may_go_a_share_of_its_own() -> None:
    start = {"weight": torch.tensor([0.0, 4.0]), "mean": torch.tensor([1.0]), "steps": torch.tensor(3)}
    end = {"weight": torch.tensor([8.0, 0.0]), "mean": torch.tensor([2.0]), "steps": torch.tensor(9)}
    found = merged(start, end, shares={"weight": torch.tensor([0.25, 1.0])})
    assert found["weight"].tolist() == [2.0, 0.0]
    assert found["mean"].item() == 1.0, "what has no share stays"
    assert found["steps"].item() == 3
    assert start["weight"].tolist() == [0.0, 4.0]


def test_how_far_is_the_length_of_the_way() -> None:
    start, end = {"a": torch.tensor([0.0, 4.0])}, {"a": torch.tensor([3.0, 0.0])}
    assert length_share(start, end, {"a": torch.tensor([0.0, 1.5])}) == pytest.approx(2.5 / 5)
    assert length_share(start, end, start) == 0.0
    assert length_share(start, end, end) == 1.0
    assert length_share(start, start, start) == 1.0, "there was no way to go"


def test_models_of_two_architectures_have_nothing_between_them() -> None:
    with pytest.raises(ValueError, match="two architectures"):
        interpolated({"weight": torch.zeros(2)}, {"weight": torch.zeros(3)}, share=0.5)
    with pytest.raises(ValueError, match="two architectures"):
        interpolated({"weight": torch.zeros(2)}, {"bias": torch.zeros(2)}, share=0.5)
    with pytest.raises(ValueError, match="two architectures"):
        merged({"weight": torch.zeros(2)}, {"bias": torch.zeros(2)}, shares={})
