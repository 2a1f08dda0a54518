"""Weights between those of two models (WiSE-FT, arXiv 2109.01903): new knowledge, and less of the old forgotten."""

from collections.abc import Mapping

import torch
from torch import Tensor


def interpolated(start: Mapping[str, Tensor], end: Mapping[str, Tensor], *, share: float) -> dict[str, Tensor]:
    """start + share * (end - start), name by name; what is no number with a fraction is that of `end`.

    Raises ValueError where the two have other names or shapes: they are no models of one architecture.
    """
    _check_alike(start, end)
    return {
        name: start[name].to(value.device).lerp(value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }


def merged(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], *, shares: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """start + share * (end - start) with a share for each weight; what has none stays that of `start`.

    Raises ValueError where the two have other names or shapes.
    """
    _check_alike(start, end)
    return {
        name: value.to(end[name].device).lerp(end[name], shares[name].to(end[name].device)) if name in shares else value
        for name, value in start.items()
    }


def length_share(start: Mapping[str, Tensor], end: Mapping[str, Tensor], reached: Mapping[str, Tensor]) -> float:
    """How far `reached` is from `start`, as a share of how far `end` is; 1 where `end` is no further than `start`."""

    def length(weights: Mapping[str, Tensor]) -> float:
        squares = (
            (value.double() - start[name].to(value.device).double()).square().sum()
            for name, value in weights.items()
            if value.is_floating_point()
        )
        return float(torch.stack([square.cpu() for square in squares]).sum().sqrt())

    whole = length(end)
    return length(reached) / whole if whole > 0 else 1.0


def _check_alike(start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> None:
    if {name: value.shape for name, value in start.items()} != {name: value.shape for name, value in end.items()}:
        raise ValueError("weights of two architectures cannot be averaged")
