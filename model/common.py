"""Layers that several parts of SAM share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def run_block(block: Callable[[Tensor], Tensor], x: Tensor, *, forget: bool) -> Tensor:
    """block(x). With `forget`, the backward pass computes again what lies inside the block instead of keeping it."""
    if forget and torch.is_grad_enabled():
        again: Tensor = checkpoint(block, x, use_reentrant=False)
        return again
    return block(x)


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.pow(2).mean(1, keepdim=True)
        return self.weight[:, None, None] * (centred / torch.sqrt(variance + self.eps)) + self.bias[:, None, None]


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always uses its stored statistics: small batches would ruin them."""

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        return super().train(False)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them: (..., C) to (..., C)."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.act(self.lin1(x)))
