"""The four names of timm that `mobile_sam` imports, for machines where timm cannot be had.

They follow timm's documented behaviour: `DropPath` drops whole samples in training and rescales the rest,
`register_model` hands its function back, `trunc_normal_` cuts at two standard deviations of a unit normal.
"""

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn


def install_timm_standin() -> None:
    """Make `import timm` give these names. Does nothing where the real package is there."""
    if "timm" in sys.modules or importlib.util.find_spec("timm") is not None:
        return
    layers = _module("timm.models.layers", DropPath=DropPath, to_2tuple=to_2tuple, trunc_normal_=trunc_normal_)
    registry = _module("timm.models.registry", register_model=register_model)
    models = _module("timm.models", layers=layers, registry=registry)
    _module("timm", models=models)


class DropPath(nn.Module):
    """In training, leaves a branch out for a random share of the batch."""

    def __init__(self, drop_prob: float | None = None) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop_prob:
            return branch
        keep = 1 - self.drop_prob
        mask = torch.bernoulli(torch.full((len(branch), *[1] * (branch.ndim - 1)), keep))
        return branch * mask / keep


def to_2tuple(value: int) -> tuple[int, int]:
    return value, value


def trunc_normal_(tensor: Tensor, std: float) -> Tensor:
    return nn.init.trunc_normal_(tensor, std=std)


def register_model(function: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    return function


def _module(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    sys.modules[name] = module
    return module
