"""Which device a name means, on this machine or another."""

import pytest
import torch

from model.devices import device_of, exact_dtype
from schemas.errors import InputError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without accelerators, whatever this one has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return monkeypatch


def with_gpus(machine: pytest.MonkeyPatch, count: int) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: count)


def test_auto_is_cuda_where_it_is_there(machine: pytest.MonkeyPatch) -> None:
    assert device_of("auto") == device_of("cpu") == "cpu"
    with_gpus(machine, 1)
    assert (device_of("auto"), device_of("cpu")) == ("cuda", "cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda", "cuda:0", "cuda:1", "mps", "", "cpu:0", "CUDA", "cuda:-1"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(machine: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(InputError, match=rf"^no device '{name}' here; choose one of auto, cpu$"):
        device_of(name)


def test_one_of_several_gpus(machine: pytest.MonkeyPatch) -> None:
    with_gpus(machine, 2)
    assert [device_of(name) for name in ("cuda", "cuda:0", "cuda:1")] == ["cuda", "cuda:0", "cuda:1"]
    with pytest.raises(InputError, match=r"'cuda:2' here; choose one of auto, cpu, cuda, cuda:0, cuda:1$"):
        device_of("cuda:2")


def test_coordinates_are_float32_where_there_is_no_float64() -> None:
    assert exact_dtype(torch.device("mps")) == torch.float32
    assert exact_dtype(torch.device("cpu")) == exact_dtype(torch.device("cuda:1")) == torch.float64


def test_mps_where_torch_has_it(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.backends.mps, "is_available", lambda: True)
    assert (device_of("mps"), device_of("auto")) == ("mps", "cpu")
