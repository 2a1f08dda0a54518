"""What a predictor promises of its numbers: `exact` or `fast`. The two are never mixed."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from schemas.errors import InputError

ContractName = Literal["exact", "fast"]


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
    def decoder_dtype(self) -> torch.dtype:
        """Of what the decoder computes for each pixel. On a CPU float32: with `nano` half took many times as long."""
        return self.half if self.name == "fast" and self.device.type != "cpu" else torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """In which the image encoder runs."""
        if self.name == "exact":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.half)
