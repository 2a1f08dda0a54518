"""Folders of weights and a card, on a disk that fails and loses power."""

from pathlib import Path

import pytest
import torch

from model.weights_folder import load_weights_folder, save_weights_folder
from schemas.errors import InputError
from tests.faults import check_failures, check_power_cuts

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3)}
CARD = {"steps": 7}


def save(root: Path) -> None:
    save_weights_folder(root / "a" / "made", "weights.safetensors", WEIGHTS, CARD)


def read(root: Path) -> tuple[list[float], int] | None:
    if not (root / "a" / "made").exists():
        return None
    weights, card = load_weights_folder(root / "a" / "made", "weights.safetensors", what="detector")
    return weights["layer.weight"].flatten().tolist(), card["steps"]


def test_it_is_whole_or_not_there_after_a_power_cut(tmp_path: Path) -> None:
    check_power_cuts(tmp_path, lambda root: None, save, read, old=None, new=([0, 1, 2, 3, 4, 5], 7))


def test_it_is_whole_or_not_there_after_a_failure(tmp_path: Path) -> None:
    check_failures(tmp_path, lambda root: None, save, read, old=None, new=([0, 1, 2, 3, 4, 5], 7))


def test_the_first_one_stays(tmp_path: Path) -> None:
    save(tmp_path)
    save_weights_folder(tmp_path / "a" / "made", "weights.safetensors", {"other": torch.ones(1)}, {})
    assert read(tmp_path) == ([0, 1, 2, 3, 4, 5], 7)


def test_weights_that_the_card_does_not_name_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    save_weights_folder(tmp_path / "other", "weights.safetensors", {"other": torch.ones(1)}, {})
    (tmp_path / "other" / "weights.safetensors").replace(tmp_path / "a" / "made" / "weights.safetensors")
    with pytest.raises(InputError, match=r"a/made: a damaged detector \(.* delete the folder, it is then made anew"):
        read(tmp_path)
