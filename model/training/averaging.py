"""Weights between those of two models (WiSE-FT, arXiv 2109.01903): new knowledge, and less of the old forgotten."""

from collections.abc import Mapping

from torch import Tensor


def interpolated(start: Mapping[str, Tensor], end: Mapping[str, Tensor], *, share: float) -> dict[str, Tensor]:
    """start + share * (end - start), name by name; what is no number with a fraction is that of `end`.

    Raises ValueError where the two have other names or shapes: they are no models of one architecture.
    """
    if {name: value.shape for name, value in start.items()} != {name: value.shape for name, value in end.items()}:
        raise ValueError("weights of two architectures cannot be averaged")
    return {
        name: start[name].to(value.device).lerp(value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }
