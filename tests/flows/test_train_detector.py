"""A detector of one's own, kept beside a model, and what rounds make of it."""

import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flows.cli import app
from model.object_detector import DETECTOR_FOLDER, load_detector
from model.registry import ModelCard
from model.storage import save_model
from schemas.errors import InputError
from tests.pictures import write_coco
from tests.stages.workspaces import tiny_sam


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's models: a tiny one."""
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    root = tmp_path / "home" / "models"
    save_model(tiny_sam(), root, ModelCard(name="tiny"))
    return root


def train(coco: Path, *options: str) -> None:
    arguments = ["train-detector", "--coco", str(coco), "--model", "tiny", "--device", "cpu", "--steps", "3"]
    found = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    assert found.exit_code == 0, found.output


def test_it_lies_beside_its_model_and_says_what_it_learned_from(models: Path, tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "incoming", count=3)
    train(coco)
    detector, card = load_detector(models / "tiny" / DETECTOR_FOLDER)
    assert (card["images"], card["coco"]) == (3, [f"incoming/{coco.name}"])
    with pytest.raises(InputError, match="has a detector already; delete"):
        train(coco)
    shutil.rmtree(models / "tiny" / DETECTOR_FOLDER)
    train(coco)
    again, _ = load_detector(models / "tiny" / DETECTOR_FOLDER)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in detector.state_dict().items())
