"""Models on disk: what is written, found again, refused."""

import errno
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from model import storage
from model.config import SamConfig
from model.encoder_configs import ViTConfig
from model.registry import (
    HOME_VARIABLE,
    ModelCard,
    builtin_models_root,
    check_name,
    find_model,
    list_models,
    model_roots,
    user_models_root,
)
from model.sam import Sam, build_sam
from model.storage import import_weights, load_model, save_model
from schemas.errors import InputError
from tests.faults import check_power_cuts
from tests.stages.workspaces import tiny_sam

CONFIG = SamConfig(
    ViTConfig(embed_dim=16, depth=1, num_heads=2, global_attn_indexes=(0,), img_size=64, window_size=2),
    decoder_depth=1,
    decoder_mlp_dim=32,
)
CARD = ModelCard(
    name="first",
    parent="0123456789abcdef",
    stage="assisted_manual",
    round=2,
    trained_on={"versions": {"images": 3}, "rule": "accumulated"},
    training={"preset": "retrain"},
    seed=7,
    metrics={"miou": 0.5},
    notes="größer",
)


def make_sam(seed: int = 0) -> Sam:
    torch.manual_seed(seed)
    return build_sam(CONFIG)


def test_a_saved_model_is_loaded_as_it_was(tmp_path: Path) -> None:
    sam = make_sam()
    model_id = save_model(sam, tmp_path, CARD)
    loaded, info = load_model("first", [tmp_path])
    assert info.model_id == model_id
    assert info.card == ModelCard(**{**vars(CARD), "model_id": model_id})
    assert info.config == loaded.config == CONFIG
    assert not loaded.training
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.encode(pixels).features, sam.encode(pixels).features)


def test_the_id_is_the_hash_of_the_weights(tmp_path: Path) -> None:
    model_id = save_model(make_sam(), tmp_path / "a", CARD)
    weights = (tmp_path / "a/first/weights.safetensors").read_bytes()
    assert model_id == hashlib.sha256(weights).hexdigest()[:16]
    assert save_model(make_sam(), tmp_path / "b", ModelCard(name="second")) == model_id
    assert save_model(make_sam(seed=1), tmp_path / "b", ModelCard(name="third")) != model_id


def test_three_files_that_others_may_read(tmp_path: Path) -> None:
    save_model(make_sam(), tmp_path, CARD)
    files = sorted((tmp_path / "first").iterdir())
    assert [file.name for file in files] == ["card.json", "config.json", "weights.safetensors"]
    assert len({file.stat().st_mode for file in files}) == 1
    assert json.loads(files[0].read_text(encoding="utf-8"))["trained_on"]["versions"] == {"images": 3}
    assert json.loads(files[1].read_text(encoding="utf-8"))["encoder"]["kind"] == "vit"


def test_half_precision_halves_the_file_and_loads_as_fp32(tmp_path: Path) -> None:
    save_model(make_sam(), tmp_path, ModelCard(name="full"))
    save_model(make_sam(), tmp_path, ModelCard(name="half"), dtype=torch.float16)
    full, half = list_models([tmp_path])
    assert half.size_bytes == pytest.approx(full.size_bytes / 2, rel=0.02)
    loaded, _ = load_model("half", [tmp_path])
    for name, weight in make_sam().state_dict().items():
        assert loaded.state_dict()[name].dtype == weight.dtype
        torch.testing.assert_close(loaded.state_dict()[name], weight, rtol=1e-3, atol=1e-6)


def test_saving_again_changes_nothing(tmp_path: Path) -> None:
    save_model(make_sam(), tmp_path, CARD)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    save_model(make_sam(), tmp_path, CARD)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_name_that_another_model_has(tmp_path: Path) -> None:
    model_id = save_model(make_sam(), tmp_path, CARD)
    with pytest.raises(InputError, match=rf"first: another model has this name \(id {model_id}, .* choose another"):
        save_model(make_sam(seed=1), tmp_path, CARD)
    assert load_model("first", [tmp_path])[1].model_id == model_id
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_a_name_is_checked_before_there_is_a_model_for_it(tmp_path: Path) -> None:
    model_id = save_model(make_sam(), tmp_path, CARD)
    with pytest.raises(InputError, match=rf"first: another model has this name \(id {model_id}\); choose another"):
        check_name(tmp_path, "first")
    check_name(tmp_path, "first", model_id=model_id)
    check_name(tmp_path, "second")
    check_name(tmp_path / "nowhere", "first")


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_name_that_something_else_has(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "first")
    with pytest.raises(InputError, match="first: exists and is no model; choose another name, or move it away"):
        check_name(tmp_path, "first")


def test_a_model_is_not_saved_over_a_folder_with_something_else(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "notes.txt").touch()
    with pytest.raises(InputError, match="exists and is no model"):
        save_model(make_sam(), tmp_path, CARD)
    assert [path.name for path in tmp_path.rglob("*")] == ["first", "notes.txt"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_names_that_are_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="use letters, digits"):
        save_model(make_sam(), tmp_path, ModelCard(name=name))
    with pytest.raises(InputError, match="use letters, digits"):
        check_name(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_model(tmp_path: Path, limit_files_to: Callable[[int], None]) -> None:
    limit_files_to(100_000)
    with pytest.raises(OSError, match=r"weights\.safetensors"):
        save_model(make_sam(), tmp_path, CARD)
    assert list(tmp_path.iterdir()) == []


def test_finding_by_name_id_and_folder(tmp_path: Path) -> None:
    first = save_model(make_sam(), tmp_path, CARD)
    second = save_model(make_sam(seed=1), tmp_path, ModelCard(name="second"))
    for name, expected in [("first", first), (second, second), (first[:6], first), (tmp_path / "second", second)]:
        assert find_model(name, [tmp_path]).model_id == expected


def test_the_first_root_wins(tmp_path: Path) -> None:
    near = save_model(make_sam(), tmp_path / "near", CARD)
    far = save_model(make_sam(seed=1), tmp_path / "far", CARD)
    assert find_model("first", [tmp_path / "near", tmp_path / "far", tmp_path / "none"]).model_id == near
    assert find_model("first", [tmp_path / "far", tmp_path / "near"]).model_id == far


def test_a_model_that_is_not_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model 'other'; models here: none"):
        find_model("other", [tmp_path])
    save_model(make_sam(), tmp_path, CARD)
    with pytest.raises(
        InputError, match="no model 'vit_b'; get it with: sam-engine models fetch vit_b; models here: first"
    ):
        find_model("vit_b", [tmp_path])
    with pytest.raises(InputError, match=r"sam-engine models import FILE, once you have its weights"):
        find_model("sam_hq_vit_b", [tmp_path])
    with pytest.raises(InputError, match=r"sam-engine train --size nano_lite0 --name nano_lite0 --coco FILE; models"):
        find_model("nano_lite0", [tmp_path])
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(InputError, match="a file, not a model; import it first"):
        find_model(tmp_path / "a.pth", [tmp_path])


def test_weights_that_are_not_those_of_the_card(tmp_path: Path) -> None:
    save_model(make_sam(), tmp_path, CARD)
    save_model(make_sam(seed=1), tmp_path, ModelCard(name="second"))
    (tmp_path / "second/weights.safetensors").replace(tmp_path / "first/weights.safetensors")
    with pytest.raises(InputError, match=r"first/weights\.safetensors: damaged or replaced"):
        load_model("first", [tmp_path])


def test_weights_that_are_not_those_of_the_configuration(tmp_path: Path) -> None:
    save_model(make_sam(), tmp_path, CARD)
    config_file = tmp_path / "first/config.json"
    config_file.write_text(config_file.read_text().replace('"decoder_mlp_dim": 32', '"decoder_mlp_dim": 64'))
    with pytest.raises(InputError, match=r"another architecture than its config\.json: .* has shape"):
        load_model("first", [tmp_path])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("card.json", "{", r"card\.json: not readable as JSON"),
        ("card.json", "[]", r"card\.json: expected keys and values, found list"),
        ("card.json", '{"name": "a"}', r"card\.json: .* name or model_id is missing"),
        ("card.json", '{"name": "a", "model_id": "b", "x": 1}', r"card\.json: .* unknown keys \['x'\]"),
        ("config.json", '{"encoder": {"kind": "resnet"}}', r"config\.json: .* unknown image encoder 'resnet'"),
        ("config.json", "{}", r"config\.json: not a model's configuration"),
        ("config.json", None, r"config\.json: no such file"),
        ("weights.safetensors", None, r"weights\.safetensors: no such file"),
    ],
)
def test_a_damaged_model_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, text: str | None, message: str
) -> None:
    save_model(make_sam(), tmp_path, CARD)
    save_model(make_sam(), tmp_path, ModelCard(name="good"))
    damaged = tmp_path / "first" / file
    damaged.unlink()
    if text is not None:
        damaged.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert [model.name for model in list_models([tmp_path])] == ["good"]
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "first", [tmp_path])
    assert "first" in caplog.text


def test_unfinished_folders_are_no_models(tmp_path: Path) -> None:
    save_model(make_sam(), tmp_path, CARD)
    (tmp_path / "first").rename(tmp_path / ".first.1a2b")
    assert list_models([tmp_path]) == []


def test_importing_a_weights_file(nano_pth: Path, nano_sam: Sam, tmp_path: Path) -> None:
    info = import_weights(nano_pth, tmp_path, name="mine")
    assert info.card.source == {"file": "nano.pth", "sha256": hashlib.sha256(nano_pth.read_bytes()).hexdigest()}
    loaded, _ = load_model("mine", [tmp_path])
    for name, weight in nano_sam.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    assert import_weights(nano_pth, tmp_path).name == "nano"
    assert import_weights(nano_pth, tmp_path).name == "nano"
    assert [model.name for model in list_models([tmp_path])] == ["mine", "nano"]


def test_a_file_is_not_read_for_a_name_that_another_model_has(
    nano_pth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_weights(nano_pth, tmp_path, name="mine")
    save_model(make_sam(), tmp_path, CARD)
    again = import_weights(nano_pth, tmp_path, name="mine")
    assert again.name == "mine", "the same file under the same name changes nothing"

    def read(_: Path) -> None:
        raise AssertionError("the weights were read")

    monkeypatch.setattr("model.storage.load_weights_file", read)
    with pytest.raises(InputError, match="first: another model has this name"):
        import_weights(nano_pth, tmp_path, name="first")


def test_where_models_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    assert user_models_root() == tmp_path / "home/models"
    assert model_roots(tmp_path / "w") == [tmp_path / "w/models", tmp_path / "home/models", builtin_models_root()]
    monkeypatch.delenv(HOME_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_roots() == [tmp_path / ".sam-data-engine/models", builtin_models_root()]


def test_after_a_power_cut_a_model_is_whole_or_not_there(tmp_path: Path) -> None:
    def ids(root: Path) -> list[str]:
        return [load_model(found.name, [root])[1].model_id for found in list_models([root])]

    expected = save_model(make_sam(), tmp_path / "expected", CARD)
    check_power_cuts(
        tmp_path / "cuts",
        lambda root: None,
        lambda root: save_model(make_sam(), root, CARD),
        ids,
        old=[],
        new=[expected],
    )


def test_loading_is_found_where_it_was() -> None:
    from model import registry, storage

    assert registry.load_model is storage.load_model
    with pytest.raises(AttributeError, match="no attribute 'load_models'"):
        _ = registry.load_models


@pytest.mark.parametrize(
    ("told", "code"),
    [("I/O error: No space left on device (os error 28)", errno.ENOSPC), ("something else", errno.EIO)],
)
def test_what_the_disk_said_of_weights_is_an_error_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise SafetensorError(told)

    monkeypatch.setattr(storage, "save_file", refuse)
    with pytest.raises(OSError, match=r"weights\.safetensors") as caught:
        save_model(tiny_sam(), tmp_path, ModelCard(name="a"))
    assert caught.value.errno == code
    assert list(tmp_path.iterdir()) == []
