"""Weights files: what is read, what is recognised, what is refused and how it is said."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model.checkpoints import load_weights_file, read_weights, recognise
from model.config import MODEL_SIZES
from model.sam import Sam
from model.wrapped_weights import unwrapped
from schemas.errors import InputError


def same_weights(sam: Sam, other: Sam) -> bool:
    weights = other.state_dict()
    return all(torch.equal(weights.pop(name), weight) for name, weight in sam.state_dict().items()) and not weights


def test_a_file_of_torch_save(nano_pth: Path, nano_sam: Sam) -> None:
    size, sam = load_weights_file(nano_pth)
    assert size == "nano"
    assert same_weights(sam, nano_sam)
    assert not sam.training


def test_a_safetensors_file(nano_sam: Sam, tmp_path: Path) -> None:
    save_file(nano_sam.state_dict(), tmp_path / "a.safetensors")
    assert same_weights(load_weights_file(tmp_path / "a.safetensors")[1], nano_sam)


def test_half_precision_is_loaded_as_fp32(nano_sam: Sam, tmp_path: Path) -> None:
    halves = {
        name: weight.half() if weight.is_floating_point() else weight for name, weight in nano_sam.state_dict().items()
    }
    save_file(halves, tmp_path / "a.safetensors")
    _, sam = load_weights_file(tmp_path / "a.safetensors")
    assert {weight.dtype for weight in sam.parameters()} == {torch.float32}
    for name, weight in sam.state_dict().items():
        assert torch.equal(weight, halves[name].to(weight.dtype))


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_weights_that_a_trainer_wrapped(nano_sam: Sam, tmp_path: Path, wrapper: str) -> None:
    weights = {f"module.{name}": weight for name, weight in nano_sam.state_dict().items()}
    torch.save({wrapper: weights, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "a.pth")
    assert same_weights(load_weights_file(tmp_path / "a.pth")[1], nano_sam)


def hugging_face_name(name: str) -> str:
    """What the conversion script of the library makes of a published name."""
    for ours, theirs in (
        ("image_encoder", "vision_encoder"),
        ("patch_embed.proj.", "patch_embed.projection."),
        ("vision_encoder.blocks.", "vision_encoder.layers."),
        ("neck.0.", "neck.conv1."),
        ("neck.1.", "neck.layer_norm1."),
        ("neck.2.", "neck.conv2."),
        ("neck.3.", "neck.layer_norm2."),
        ("mask_downscaling.0.", "mask_embed.conv1."),
        ("mask_downscaling.1.", "mask_embed.layer_norm1."),
        ("mask_downscaling.3.", "mask_embed.conv2."),
        ("mask_downscaling.4.", "mask_embed.layer_norm2."),
        ("mask_downscaling.6.", "mask_embed.conv3."),
        ("point_embeddings.", "point_embed."),
        ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
        ("output_upscaling.0.", "upscale_conv1."),
        ("output_upscaling.1.", "upscale_layer_norm."),
        ("output_upscaling.3.", "upscale_conv2."),
        ("norm_final_attn.", "layer_norm_final_attn."),
    ):
        name = name.replace(ours, theirs)
    for number in "1234":
        if ".transformer.layers." in name or "vision_encoder.layers." in name:
            name = name.replace(f".norm{number}.", f".layer_norm{number}.")
    if "hypernetworks_mlps" in name or "iou_prediction_head" in name:
        name = name.replace(".layers.0.", ".proj_in.").replace(".layers.1.", ".layers.0.")
        name = name.replace(".layers.2.", ".proj_out.")
    return name


def vit_b() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return Sam(MODEL_SIZES["vit_b"]()).state_dict()


def test_names_of_hugging_face() -> None:
    weights = {hugging_face_name(name): weight for name, weight in vit_b().items()}
    assert "mask_decoder.output_hypernetworks_mlps.3.proj_out.bias" in weights
    assert "vision_encoder.layers.11.layer_norm2.weight" in weights
    twice = weights | {"prompt_encoder.shared_embedding.positional_embedding": torch.zeros(2, 128, device="meta")}
    for content in (weights, twice, {"state_dict": {f"model.{name}": twice[name] for name in twice}}):
        found = unwrapped(content)
        assert recognise(found, file=Path("a.pth")) == "vit_b"
        assert {name: weight.shape for name, weight in found.items()} == {n: w.shape for n, w in vit_b().items()}


@pytest.mark.parametrize(
    "prefix", ["model.", "_orig_mod.", "module._orig_mod.", "module.", "sam.", "model.sam.", "net.module."]
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "net", "ema", "model_state"])
def test_names_of_trainers(nano_sam: Sam, prefix: str, wrapper: str | None) -> None:
    weights = {f"{prefix}{name}": weight for name, weight in nano_sam.state_dict().items()}
    beside = {"epoch": 3, "optimizer": {"state": {}}, "model": "vit_b"}
    assert unwrapped(weights if wrapper is None else {wrapper: weights} | beside).keys() == nano_sam.state_dict().keys()


def test_a_part_may_be_compiled_alone_and_others_stand_beside_the_model(nano_sam: Sam) -> None:
    weights = {
        f"model.{name}".replace("image_encoder.", "image_encoder._orig_mod."): weight
        for name, weight in nano_sam.state_dict().items()
    }
    weights |= {"loss.weight": torch.zeros(1), "model.pixel_mean": torch.zeros(3, 1, 1), "n_averaged": torch.zeros(())}
    assert unwrapped({"state_dict": weights}).keys() == nano_sam.state_dict().keys()


def test_settings_and_numbers_of_numpy_beside_the_weights(nano_sam: Sam, tmp_path: Path) -> None:
    args = argparse.Namespace(lr=0.1, output=Path("out"), best=np.float32(0.7))
    beside = {"args": args, "best": np.float64(0.5), "epoch": np.int64(3), "history": np.arange(4.0)}
    torch.save({"model": nano_sam.state_dict()} | beside, tmp_path / "a.pth")
    assert same_weights(load_weights_file(tmp_path / "a.pth")[1], nano_sam)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["mask_decoder.obj_score_token.weight", "image_encoder.pos_embed"], "weights of SAM 2, of another size"),
        (["mask_decoder.hf_token.weight", "image_encoder.pos_embed"], "weights of SAM-HQ"),
        (["mask_decoder.iou_token.weight"], "weights of a mask decoder without its image encoder"),
        (["iou_token.weight"], "weights of a mask decoder without its image encoder"),
    ],
)
def test_other_models_are_named(names: list[str], said: str) -> None:
    with pytest.raises(InputError, match=rf"a\.pth: {said}.*; expected one of vit_h"):
        recognise({name: torch.zeros(1) for name in names}, file=Path("a.pth"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "a pointer of Git LFS"),
    ],
)
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_files_that_are_something_else_are_named(content: bytes, said: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_weights(tmp_path / name)


def test_a_whole_pickled_module_is_named(nano_sam: Sam, tmp_path: Path) -> None:
    torch.save(nano_sam, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"refused: it needs the class model\.sam\.Sam.* save its state_dict\(\)"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("size", list(MODEL_SIZES))
def test_every_size_is_recognised(size: str) -> None:
    with torch.device("meta"):
        weights = Sam(MODEL_SIZES[size]()).state_dict()
    assert recognise(weights, file=Path("a.pth")) == size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"mask_decoder.hf_token.weight": torch.zeros(1, 256)},
            r"1 places, first: mask_decoder.hf_token.weight is unknown",
        ),
        ({"mask_decoder.iou_token.weight": None}, "1 places, first: mask_decoder.iou_token.weight is missing"),
        ({"mask_decoder.iou_token.weight": torch.zeros(1, 9)}, r"has shape \(1, 9\), expected \(1, 256\)"),
    ],
)
def test_another_architecture_is_named_with_what_was_expected(
    nano_sam: Sam, change: dict[str, Any], message: str
) -> None:
    weights = {name: weight for name, weight in (nano_sam.state_dict() | change).items() if weight is not None}
    with pytest.raises(
        InputError, match=r"^b\.pth: .* expected one of vit_h, .* even nano differs in " + f".*{message}"
    ):
        recognise(weights, file=Path("b.pth"))


def test_weights_that_are_not_finite(nano_sam: Sam, tmp_path: Path) -> None:
    weights = nano_sam.state_dict() | {"mask_decoder.iou_token.weight": torch.full((1, 256), float("nan"))}
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: mask_decoder\.iou_token\.weight holds NaN or infinity"):
        load_weights_file(tmp_path / "a.pth")


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1), "extra": Malicious(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: refused"):
        read_weights(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have run


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 broken", b'\x08\0\0\0\0\0\0\0{"a": 1}'])
def test_what_is_no_weights_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as error:
        read_weights(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_truncated_file(nano_pth: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(nano_pth.read_bytes()[:1_000_000])
    with pytest.raises(InputError, match=r"a\.pth: not a readable weights file"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {"a": 1}, torch.zeros(2)])
def test_a_file_without_weights(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: holds no weights"):
        read_weights(tmp_path / "a.pth")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(InputError, match=r"no such file; expected weights as \.pth"):
            read_weights(path)
