"""Hiera, the image encoder of SAM 2 (arXiv 2306.00989, 2408.00714), and the neck that joins its stages.

Four stages at strides 4, 8, 16 and 32. The first block of each later stage halves the grid: its queries are pooled.
Module names are those of the published `sam2.1_hiera_*.pt`.
Shapes: B images, side S of the input, C = 256 channels of the neck. Tokens are (B, H, W, E) between blocks.
"""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.common import run_block
from model.encoder_configs import HieraConfig
from model.encoders import EMBED_DIM, ImageEmbedding, ImageEncoder
from model.image_encoder import DropPath, check_input, growing_rates, join_windows, split_windows

_BLOCK = re.compile(r"trunk\.blocks\.(\d+)\.")


class HieraEncoder(ImageEncoder):
    """(B, 3, S, S) normalised pixels to an image embedding (B, C, S / 16, S / 16), and (B, C) at strides 4 and 8."""

    high_res_chans = (EMBED_DIM, EMBED_DIM)
    side_multiple_px = 32

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        self.config = config
        self.img_size = config.img_size
        self.trunk = Hiera(config)
        self.neck = FpnNeck(config.stage_dims)
        # What stands for "nothing remembered": the memory of videos is the one part of SAM 2 that pictures leave out.
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, EMBED_DIM))
        nn.init.trunc_normal_(self.no_mem_embed, std=0.02)

    def forward(self, images: Tensor) -> ImageEmbedding:
        check_input(images, self.img_size)
        fine, middle, features = self.neck(self.trunk(images, forget=self.checkpoint_activations))
        return ImageEmbedding(features + self.no_mem_embed.view(1, -1, 1, 1), (fine, middle))

    @property
    def depth(self) -> int:
        return len(self.trunk.blocks)

    def layer_of(self, name: str) -> int:
        """Patches and positions lie before the first block, the neck behind the last."""
        block = _BLOCK.match(name)
        if block:
            return 1 + int(block[1])
        return 0 if name.startswith("trunk.") else self.depth + 1


class Hiera(nn.Module):
    """(B, 3, S, S) to the output of each stage, (B, E, H, W)."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        self.stage_ends = config.stage_ends
        self.patch_embed = PatchEmbed(config.embed_dim)
        side, window = config.pos_embed_side, config.window_sizes[0]
        self.pos_embed = nn.Parameter(torch.zeros(1, config.embed_dim, side, side))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.embed_dim, window, window))
        rates = growing_rates(config.drop_path_rate, sum(config.depths))
        self.blocks = nn.ModuleList(
            make_block(config, number, drop_path_rate=rate) for number, rate in enumerate(rates)
        )

    def forward(self, images: Tensor, *, forget: bool) -> list[Tensor]:
        tokens = self.patch_embed(images)
        tokens = tokens + self._positions(tokens.shape[1])
        stages = []
        for number, block in enumerate(self.blocks):
            tokens = run_block(block, tokens, forget=forget)
            if number in self.stage_ends:
                stages.append(tokens.permute(0, 3, 1, 2))
        return stages

    def _positions(self, side: int) -> Tensor:
        """(1, side, side, E): a coarse map over the whole grid, plus one that repeats in each window."""
        whole = F.interpolate(self.pos_embed, size=(side, side), mode="bicubic")
        times = side // self.pos_embed_window.shape[-1]
        return (whole + self.pos_embed_window.tile(1, 1, times, times)).permute(0, 2, 3, 1)


class PatchEmbed(nn.Module):
    """(B, 3, S, S) to tokens (B, S / 4, S / 4, E), by a convolution whose patches overlap."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=7, stride=4, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.proj(images).permute(0, 2, 3, 1)
        return tokens


def make_block(config: HieraConfig, number: int, *, drop_path_rate: float) -> "Block":
    """Block `number` of the trunk. One that begins a stage still has the windows of the stage before."""
    stage = sum(number > end for end in config.stage_ends)
    begins = number - 1 in config.stage_ends
    before = stage - 1 if begins else stage
    return Block(
        config.stage_dims[before],
        config.stage_dims[stage],
        config.num_heads * 2**stage,
        window_size=0 if number in config.global_attn_indexes else config.window_sizes[before],
        pools=begins,
        mlp_ratio=config.mlp_ratio,
        drop_path_rate=drop_path_rate,
    )


class Block(nn.Module):
    """A pre-norm transformer block; window_size 0 means attention over the whole grid. pools: halves the grid."""

    def __init__(
        self,
        in_dim: int,
        dim: int,
        num_heads: int,
        *,
        window_size: int,
        pools: bool,
        mlp_ratio: float,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.window_size, self.pools = window_size, pools
        self.norm1 = nn.LayerNorm(in_dim, eps=1e-6)
        self.attn = Attention(in_dim, dim, num_heads, pools=pools)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.proj = nn.Linear(in_dim, dim) if in_dim != dim else None
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm1(tokens)
        if self.proj is not None:
            tokens = self.proj(normed)
            tokens = pooled(tokens) if self.pools else tokens
        tokens = tokens + self.drop_path(self._attend(normed, (tokens.shape[1], tokens.shape[2])))
        mixed: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return mixed

    def _attend(self, normed: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """grid_hw: of what comes out."""
        if self.window_size == 0:
            attended: Tensor = self.attn(normed)
            return attended
        return join_windows(self.attn(split_windows(normed, self.window_size)), grid_hw=grid_hw)


class Attention(nn.Module):
    """Multi-head attention over (N, H, W, in_dim); with `pools` the queries are maxima over 2x2."""

    def __init__(self, in_dim: int, dim: int, num_heads: int, *, pools: bool) -> None:
        super().__init__()
        self.num_heads, self.pools = num_heads, pools
        self.qkv = nn.Linear(in_dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        query = pooled(query) if self.pools else query
        mixed = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value))
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(query.shape))
        return out

    def _split(self, grid: Tensor) -> Tensor:
        """(N, H, W, E) to (N, heads, H * W, E / heads)."""
        return grid.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear layers with a GELU between, on the last axis."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, dim)])

    def forward(self, tokens: Tensor) -> Tensor:
        widen, narrow = self.layers
        out: Tensor = narrow(F.gelu(widen(tokens)))
        return out


class FpnNeck(nn.Module):
    """The outputs of the four stages to (B, C) at strides 4, 8 and 16, of which the last sees stride 32 too."""

    def __init__(self, stage_dims: tuple[int, ...]) -> None:
        super().__init__()
        # From the coarsest stage to the finest, as published.
        self.convs = nn.ModuleList(Lateral(dim) for dim in reversed(stage_dims))

    def forward(self, stages: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        coarsest, coarse, middle, fine = (conv(stage) for conv, stage in zip(self.convs, reversed(stages), strict=True))
        above = F.interpolate(coarsest.float(), scale_factor=2.0, mode="nearest")
        return fine, middle, coarse + above


class Lateral(nn.Module):
    """(B, E, H, W) to (B, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, EMBED_DIM, kernel_size=1)

    def forward(self, stage: Tensor) -> Tensor:
        projected: Tensor = self.conv(stage)
        return projected


def pooled(grid: Tensor) -> Tensor:
    """(N, H, W, E) to (N, H / 2, W / 2, E): the largest of each 2x2."""
    return F.max_pool2d(grid.permute(0, 3, 1, 2), kernel_size=2).permute(0, 2, 3, 1)
