"""What a predictor promises of its numbers: `exact` or `fast`. The two are never mixed."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch.nn import functional as F

from schemas.errors import InputError

ContractName = Literal["exact", "fast"]

_TRIES = 3


@dataclass(frozen=True)
class HalfTrial:
    """Seconds that a CPU takes for a product like those of an image encoder, in half precision and in float32."""

    half_s: float
    single_s: float

    @property
    def pays(self) -> bool:
        return self.half_s < self.single_s


@dataclass(frozen=True)
class Contract:
    """exact: float32, the published numbers up to rounding. fast: half precision where that pays, other numbers.

    device: where the model runs. half: the type of half precision in use.
    """

    name: ContractName
    device: torch.device
    half: torch.dtype = torch.bfloat16

    def __post_init__(self) -> None:
        if self.name not in ("exact", "fast"):
            raise InputError(f"contract: expected exact or fast, found {self.name!r}")

    @property
    def encoder_dtype(self) -> torch.dtype:
        """Of the image encoder. On a CPU `fast` tries once in a process which is faster."""
        if self.name == "exact" or (self.device.type == "cpu" and not half_trial(self.half).pays):
            return torch.float32
        return self.half

    @property
    def decoder_dtype(self) -> torch.dtype:
        """Of what the decoder computes for each pixel. On a CPU float32: with `nano` half took many times as long."""
        return self.half if self.name == "fast" and self.device.type != "cpu" else torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """In which the image encoder runs."""
        dtype = self.encoder_dtype
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype=dtype)

    def __str__(self) -> str:
        """The contract, and what `fast` chose."""
        if self.name == "exact":
            return "exact"
        half, chosen = (str(dtype).removeprefix("torch.") for dtype in (self.half, self.encoder_dtype))
        if self.device.type != "cpu":
            return f"fast: {chosen}"
        trial = half_trial(self.half)
        times = f"a product takes {trial.half_s * 1e3:.1f} ms in {half} and {trial.single_s * 1e3:.1f} ms in float32"
        equal = "" if trial.pays else ", so that all is as with exact"
        return f"fast: the image encoder runs in {chosen}{equal}; on this processor {times}"


@lru_cache
def half_trial(half: torch.dtype) -> HalfTrial:
    """The trial of this process."""
    return try_half(half)


@torch.no_grad()
def try_half(half: torch.dtype, *, clock: Callable[[], float] = time.thread_time) -> HalfTrial:
    """Times a product of ViT-B's on the CPU, under autocast to half precision and without; the best of a few."""
    tokens, weight = torch.ones(1024, 768), torch.ones(3072, 768)

    def best() -> float:
        F.linear(tokens, weight)  # what happens only once
        seconds = []
        for _ in range(_TRIES):
            started = clock()
            F.linear(tokens, weight)
            seconds.append(clock() - started)
        return min(seconds)

    single_s = best()
    with torch.autocast("cpu", dtype=half):
        return HalfTrial(half_s=best(), single_s=single_s)
