"""The example of an image encoder, known by its entry points alone: it trains, is saved, and comes back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.config import MODEL_SIZES
from model.encoder_configs import ENCODERS
from model.registry import model_roots
from model.sam import build_sam
from model.storage import load_model
from model.training.config import Phase, TrainingConfig
from model.training.optimizer import parameter_groups
from tests.distributions import install_example
from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import write_pictures

PHASE = "{until: 40, batch_size: 2, masks_per_image: 3, correction_points: 0, input_size_px: 128}"


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    install_example("toy_encoder", tmp_path / "site", monkeypatch)


def test_it_is_trained_saved_used_and_recognised(tmp_path: Path) -> None:
    coco = write_pictures(tmp_path / "pictures", images=6)
    options = ("--size", "toy", "--name", "my-toy", "--device", "cpu", "--set", f"phases=[{PHASE}]", "--set", "lr=1e-3")
    done = sam_engine("train", "--coco", coco, *options, "--json")
    assert done.status == 0, done.err
    folder = Path(done.result["folder"])
    assert json.loads((folder / "config.json").read_text())["encoder"] == {"kind": "toy", "width": 16, "img_size": 256}
    assert _losses(folder.parent)[-5:].mean() < 0.7 * _losses(folder.parent)[:5].mean()

    sam, info = load_model("my-toy", model_roots())
    assert type(sam.image_encoder).__name__ == "ToyEncoder"
    assert sam.encode(torch.zeros(1, 3, 256, 256)).features.shape == (1, 256, 16, 16)
    imported = sam_engine("models", "import", folder / "weights.safetensors", "--name", "again", "--json")
    assert imported.status == 0, imported.err
    assert info.model_id in imported.out

    picture = tmp_path / "photo.png"
    Image.fromarray(np.zeros((48, 60, 3), dtype=np.uint8)).save(picture)
    made = sam_engine(
        "generate", picture, "--output", tmp_path / "out", "--model", "my-toy", "--device", "cpu", "--json"
    )
    assert made.status == 0, made.err
    assert made.result["settings"]["pred_iou_thresh"] == 0.5, "the preset that the encoder names"


def test_its_layers_can_learn_at_rates_of_their_own() -> None:
    sam = build_sam(MODEL_SIZES["toy"]())
    phase = Phase(until=1, batch_size=1, masks_per_image=1, correction_points=0)
    groups = parameter_groups(sam, TrainingConfig(name="x", phases=(phase,), layer_decay=0.5))
    assert {group["lr_factor"] for group in groups} == {1.0, *(0.5**layers for layers in range(1, 5))}


def test_what_is_built_in_is_still_there() -> None:
    assert list(ENCODERS)[:3] == ["vit", "tiny_vit", "efficientnet"]
    assert {"nano", "toy"} <= set(MODEL_SIZES)


def _losses(root: Path) -> np.ndarray:
    (log,) = (root / ".training").rglob("*.jsonl")
    return np.array([json.loads(line)["loss"] for line in log.read_text().splitlines()])
