"""`sam-engine train`: names are looked at first, and a run that is through is not begun again."""

from pathlib import Path

import pytest

from model.registry import read_info
from model.training import trainer
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
