"""Weights files: what is read, what is recognised, what is refused and how it is said."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from model.checkpoints import load_weights_file, read_weights, recognise
from model.config import MODEL_SIZES
from model.sam import Sam
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
