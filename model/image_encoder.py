"""The plain ViT image encoder of SAM: windowed attention, a few global blocks, decomposed relative positions.

Module names are those of the published checkpoints, which therefore load strictly.
Shapes: B images, side S of the input, grid G = S / patch_size, E channels inside, n heads, D = E / n.
Tokens are (B, G, G, E) between blocks; a window is (B * windows, k, k, E).
"""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.common import LayerNorm2d, MLPBlock, run_block
from model.encoder_configs import ViTConfig
from model.encoders import ImageEmbedding, ImageEncoder

_BLOCK = re.compile(r"blocks\.(\d+)\.")


class ImageEncoderViT(ImageEncoder):
    """(B, 3, S, S) normalised pixels to an image embedding (B, out_chans, G, G)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.img_size = config.img_size
        grid = config.grid_size
        self.patch_embed = PatchEmbed(config.embed_dim, patch_size=config.patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.embed_dim))
        drop_path_rates = growing_rates(config.drop_path_rate, config.depth)
        self.blocks = nn.ModuleList(
            Block(config, window_size=0 if i in config.global_attn_indexes else config.window_size, drop_path_rate=rate)
            for i, rate in enumerate(drop_path_rates)
        )
        self.neck = make_neck(config.embed_dim, config.out_chans)
        self.early_chans = config.embed_dim if config.global_attn_indexes else None

    def forward(self, images: Tensor) -> ImageEmbedding:
        """Early features are those behind the first block that sees the whole grid (arXiv 2306.01567, section 3.2)."""
        check_input(images, self.img_size)
        tokens = self.patch_embed(images) + self.pos_embed
        early: Tensor | None = None
        for number, block in enumerate(self.blocks):
            tokens = run_block(block, tokens, forget=self.checkpoint_activations)
            if number == min(self.config.global_attn_indexes, default=None):
                early = tokens.permute(0, 3, 1, 2)
        return ImageEmbedding(self.neck(tokens.permute(0, 3, 1, 2)), early=early)

    @property
    def depth(self) -> int:
        return len(self.blocks)

    def layer_of(self, name: str) -> int:
        """Patch and position embedding lie before the first block, the neck behind the last."""
        if name.startswith("neck."):
            return self.depth + 1
        block = _BLOCK.match(name)
        return 1 + int(block[1]) if block else 0


class PatchEmbed(nn.Module):
    """(B, 3, S, S) to tokens (B, G, G, E): one linear map for each patch."""

    def __init__(self, embed_dim: int, *, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.proj(images).permute(0, 2, 3, 1)
        return tokens


class Block(nn.Module):
    """A pre-norm transformer block; window_size 0 means attention over the whole grid."""

    def __init__(self, config: ViTConfig, *, window_size: int, drop_path_rate: float) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.attn = Attention(config.embed_dim, config.num_heads, side=window_size or config.grid_size)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.mlp = MLPBlock(config.embed_dim, int(config.embed_dim * config.mlp_ratio))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self._attend(self.norm1(tokens)))
        mixed: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return mixed

    def _attend(self, tokens: Tensor) -> Tensor:
        if self.window_size == 0:
            attended: Tensor = self.attn(tokens)
            return attended
        windows = split_windows(tokens, self.window_size)
        return join_windows(self.attn(windows), grid_hw=(tokens.shape[1], tokens.shape[2]))


class Attention(nn.Module):
    """Multi-head attention over a square of side x side tokens, with a bias from their relative position.

    The bias is the sum of a vertical and a horizontal part, each the query times a learnt vector for the distance
    along that axis (MViTv2, section 4.1).
    """

    def __init__(self, dim: int, num_heads: int, *, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads))

    def forward(self, tokens: Tensor) -> Tensor:
        batch, height, width, dim = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, height * width, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, n, height * width, D)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=self._bias(query, height, width))
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(batch, height, width, dim))
        return mixed

    def _bias(self, query: Tensor, height: int, width: int) -> Tensor:
        """(B, n, height * width, height * width), added to the scaled scores; the query comes in unscaled."""
        batch, heads, count, dim = query.shape
        grid = query.reshape(batch, heads, height, width, dim)
        vertical = torch.einsum("bnhwd,hkd->bnhwk", grid, by_distance(self.rel_pos_h, height))
        horizontal = torch.einsum("bnhwd,wkd->bnhwk", grid, by_distance(self.rel_pos_w, width))
        # Einsum gives permuted axes. Their sum would inherit them, and the reshape copy all of it: 805 MB in ViT-B.
        vertical, horizontal = vertical.contiguous(), horizontal.contiguous()
        return (vertical[..., :, None] + horizontal[..., None, :]).reshape(batch, heads, count, count)


class DropPath(nn.Module):
    """In training, leaves a residual branch out for a random share of the batch and scales it up for the rest."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        kept = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) < keep
        return branch * (kept.to(branch.dtype) / keep)


def growing_rates(last: float, count: int) -> list[float]:
    """`count` drop path rates from 0 at the first block to `last` at the last, evenly spaced."""
    return [last * i / max(count - 1, 1) for i in range(count)]


def make_neck(in_chans: int, out_chans: int) -> nn.Sequential:
    """(B, in_chans, G, G) to (B, out_chans, G, G): the bottleneck that every published encoder ends with."""
    return nn.Sequential(
        nn.Conv2d(in_chans, out_chans, kernel_size=1, bias=False),
        LayerNorm2d(out_chans),
        nn.Conv2d(out_chans, out_chans, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_chans),
    )


def check_input(images: Tensor, img_size: int) -> None:
    """Raises ValueError unless images are (B, 3, img_size, img_size); position embeddings fit no other size."""
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, img_size, img_size):
        raise ValueError(f"images: expected (batch, 3, {img_size}, {img_size}), found {tuple(images.shape)}")


def by_distance(rel_pos: Tensor, side: int) -> Tensor:
    """(2 * side - 1, D) vectors for the distances -(side - 1) .. side - 1 to (side, side, D): [query, key]."""
    positions = torch.arange(side, device=rel_pos.device)
    return rel_pos[positions[:, None] - positions[None, :] + side - 1]


def split_windows(tokens: Tensor, size: int) -> Tensor:
    """(B, H, W, E) to (B * windows, size, size, E), row by row; zeros fill the last windows up, as published."""
    batch, height, width, dim = tokens.shape
    padded = F.pad(tokens, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = padded.shape[1] // size, padded.shape[2] // size
    windows = padded.reshape(batch, rows, size, columns, size, dim).transpose(2, 3)
    return windows.reshape(batch * rows * columns, size, size, dim)


def join_windows(windows: Tensor, *, grid_hw: tuple[int, int]) -> Tensor:
    """What `split_windows` split, without the filling: (B * windows, size, size, E) to (B, H, W, E)."""
    (height, width), size, dim = grid_hw, windows.shape[1], windows.shape[3]
    rows, columns = -(-height // size), -(-width // size)
    grid = windows.reshape(-1, rows, columns, size, size, dim).transpose(2, 3)
    return grid.reshape(-1, rows * size, columns * size, dim)[:, :height, :width]
