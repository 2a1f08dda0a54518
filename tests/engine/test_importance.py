"""The file that says on which weights of a model known things rest."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.importance import (
    IMPORTANCE_FILE,
    importance_file,
    measure_importance,
    read_importance,
    write_importance,
)
from engine.samples import CocoSamples
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.registry import ModelCard, builtin_models_root, find_model
from model.sam import Sam, build_sam
from model.storage import load_model, save_model
from schemas.errors import InputError
from tests.stages.workspaces import write_pictures


@pytest.fixture
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam(SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64))).eval()


def test_nano_says_on_which_of_its_weights_known_things_rest() -> None:
    roots = [builtin_models_root()]
    file = importance_file(find_model("nano", roots), roots)
    assert file is not None
    known = read_importance(file)
    named = dict(load_model("nano", roots)[0].named_parameters())
    assert {name: value.shape for name, value in known.items()} == {name: value.shape for name, value in named.items()}
    assert all(bool((value >= 0).all()) for value in known.values())
    count = sum(value.numel() for value in known.values())
    assert sum(float(value.double().sum()) for value in known.values()) / count == pytest.approx(1)


def test_it_lies_beside_the_model_or_the_one_that_it_was_trained_from(tmp_path: Path, sam: Sam) -> None:
    first = save_model(sam, tmp_path, ModelCard(name="first"))
    with torch.no_grad():
        next(sam.parameters()).add_(1)
    save_model(sam, tmp_path, ModelCard(name="second", parent=first))
    assert importance_file(find_model("second", [tmp_path]), [tmp_path]) is None
    write_importance({"weight": torch.ones(2, 2)}, tmp_path / "first" / IMPORTANCE_FILE)
    assert importance_file(find_model("second", [tmp_path]), [tmp_path]) == tmp_path / "first" / IMPORTANCE_FILE


def test_it_is_measured_without_a_change_of_the_model(tmp_path: Path, sam: Sam) -> None:
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    samples = CocoSamples([write_pictures(tmp_path / "pictures", images=2)])
    found = measure_importance(sam, samples, looks=3)
    assert found.keys() <= dict(sam.named_parameters()).keys()
    assert found["mask_decoder.iou_token.weight"].sum() > 0
    assert all(torch.equal(value, before[name]) for name, value in sam.state_dict().items())
    count = sum(value.numel() for value in found.values())
    assert sum(float(value.double().sum()) for value in found.values()) / count == pytest.approx(1)
    again = measure_importance(sam, samples, looks=3)
    assert all(torch.equal(value, again[name]) for name, value in found.items())


def test_a_file_keeps_the_means_of_rows_and_columns(tmp_path: Path) -> None:
    """Rows have means 1 and 3, columns 2, 1 and 3, all 2: the first value is 1 * 2 / 2. The mean of all is 2 too."""
    rows, columns = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0, 3.0])
    weight = rows[:, None] * columns / 2
    other = torch.tensor([[[[4.0, 0.0]]], [[[0.0, 4.0]]]])  # (2, 1, 1, 2), no product of rows and columns
    write_importance({"weight": weight, "bias": torch.tensor([2.0]), "other": other}, tmp_path / IMPORTANCE_FILE)
    found = read_importance(tmp_path / IMPORTANCE_FILE)
    assert found["weight"].tolist() == [[0.5, 0.25, 0.75], [1.5, 0.75, 2.25]]
    assert found["bias"].tolist() == [1.0]
    assert found["other"].shape == other.shape
    assert found["other"].flatten().tolist() == [1.0] * 4


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / IMPORTANCE_FILE
    file.write_bytes(b"not tensors")
    with pytest.raises(InputError, match=f"{file}: cannot be read"):
        read_importance(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_importance(tmp_path / "none")
    save_file({"weight.rows": torch.ones(2, 1)}, file)
    with pytest.raises(InputError, match=r"cannot be read: .weight\.columns"):
        read_importance(file)
