"""Where models run."""

import torch

from schemas.errors import InputError


def exact_dtype(device: torch.device) -> torch.dtype:
    """What coordinates are reckoned in on a device: float64, and float32 on Apple's GPUs, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64


def device_of(name: str) -> str:
    """The device that `engine.yaml` or `--device` names; "auto" takes CUDA where it is there, else the CPU.

    Raises InputError, naming the devices there are, where this machine or this build of torch has no such device.
    """
    gpus = ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    devices = ["cpu"]
    devices += gpus if torch.cuda.is_available() else []
    devices += ["mps"] if torch.backends.mps.is_available() else []
    if name == "auto":
        return "cuda" if "cuda" in devices else "cpu"
    if name not in devices:
        raise InputError(f"no device {name!r} here; choose one of auto, {', '.join(devices)}")
    return name
