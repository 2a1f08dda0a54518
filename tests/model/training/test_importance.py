"""Which weights a retraining moves less."""

import pytest
import torch

from model.training.importance import Importances, normalised


def test_importance_is_relative_to_the_mean_of_all_weights() -> None:
    """4, 0 and 1 have the mean 5/3."""
    found = normalised({"a": torch.tensor([4.0, 0.0]), "b": torch.tensor([[1.0]])})
    assert found["a"].tolist() == pytest.approx([2.4, 0.0])
    assert found["b"].tolist() == [[pytest.approx(0.6)]]
    assert normalised({"a": torch.zeros(2)})["a"].tolist() == [0.0, 0.0]


def test_a_weight_goes_the_further_the_more_it_matters_for_what_is_new() -> None:
    new = {"a": torch.tensor([1.0, 1.0, 0.0, 0.0]), "b": torch.tensor([2.0])}
    found = Importances(new, {"a": torch.tensor([0.0, 1.0, 1.0, 0.0])}).shares(3.0)
    assert found["a"].tolist() == [1.0, 0.25, 0.0, 0.0]
    assert found["b"].tolist() == [1.0], "of which nothing is known"
    assert Importances(new, {"a": torch.ones(4)}).shares(0.0)["a"].tolist() == [1.0, 1.0, 0.0, 0.0]
