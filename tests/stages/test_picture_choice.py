"""The benchmarks of the choice of pictures and of hard examples: what they rank by, and that they end with a table."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import hard_examples, picture_choice
from benchmarks.picture_choice import ARMS, Surveyed, disagreement, farthest_first
from engine.store import Store
from model.registry import ModelCard
from model.storage import save_model
from stages.rounds import tick
from tests.stages.workspaces import make_workspace, tiny_sam, write_pictures


def test_disagreement_by_hand() -> None:
    """Masks of 2, 4 and 4 pixels: their pairs have IoUs of 2 / 4, 0 and 0; three equal ones agree, empty ones too."""
    masks = torch.zeros(3, 3, 2, 5, dtype=torch.bool)
    masks[0, 0, 0, :2] = masks[0, 1, 0, :4] = masks[0, 2, 1, :4] = True
    masks[1, :, 0] = True
    assert disagreement(masks).tolist() == pytest.approx([1 - 0.5 / 3, 0, 0])


def test_farthest_first_by_hand() -> None:
    places = np.array([[0.0], [1.0], [10.0], [6.0]])
    assert farthest_first(places, np.ones(4), first=0) == [0, 2, 3, 1]
    assert farthest_first(places, np.array([1, 1, 0.1, 1]), first=0) == [0, 3, 1, 2]
    assert sorted(farthest_first(np.zeros((3, 2)), np.ones(3), first=1)) == [0, 1, 2]


def test_each_arm_takes_first_what_it_looks_for() -> None:
    found = [
        Surveyed(doubt=0.1, disagreement=0.9, covered=0.5, embedding=[0.0, 0.0]),
        Surveyed(doubt=0.8, disagreement=0.2, covered=0.6, embedding=[1.0, 0.0]),
        Surveyed(doubt=0.3, disagreement=0.4, covered=0.1, embedding=[9.0, 0.0]),
    ]
    assert ARMS["predicted IoU"](found) == [1, 2, 0]
    assert ARMS["disagreement"](found) == [0, 2, 1]
    assert ARMS["coverage"](found) == [2, 0, 1]
    assert ARMS["diversity"](found) == [1, 2, 0], "the one in the middle, then the farthest"
    assert ARMS["disagreement x diversity"](found) == [0, 2, 1]
    assert sorted(ARMS["random 1"](found)) == [0, 1, 2]


def test_every_try_is_a_row_and_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    save_model(tiny_sam(), tmp_path / "home" / "models", ModelCard(name="tiny"))
    domain = write_pictures(tmp_path / "domain", images=5, holdout=2)

    def table() -> str:
        picture_choice.main(
            domains=[domain],
            budget=[1],
            arm=["random 0", "coverage"],
            folder=tmp_path / "tries",
            model="tiny",
            steps=1,
            share=0.5,
            points_per_side=2,
            masks=150,
        )
        return capsys.readouterr().out

    printed = table()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    assert [row[:3] for row in rows[2:]] == [
        ["0 of domain", "start", "0"],
        ["1 of domain", "random 0", "3"],
        ["1 of domain", "coverage", "3"],
    ]
    assert [" to " in row[3] for row in rows[2:]] == [False, False, True]
    monkeypatch.setattr(picture_choice, "train", None)
    assert table() == printed


def test_the_first_weight_is_what_the_others_are_compared_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    save_model(tiny_sam(), tmp_path / "home" / "models", ModelCard(name="tiny"))
    store: Store = make_workspace(tmp_path, images=3, holdout=1, assisted_manual={"rounds": 1})
    while tick(store, "assisted_manual").action != "annotate":
        pass
    domain = write_pictures(tmp_path / "domain", images=2, holdout=1)
    hard_examples.main(
        workspace=store.workspace,
        domain=domain,
        number=1,
        weight=[1, 3],
        seeds=1,
        steps=1,
        masks=150,
        folder=tmp_path / "tries",
    )
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["1", "3"]
    assert [" to " in row[2] for row in rows] == [False, True]
