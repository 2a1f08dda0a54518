"""TinyViT, the small image encoder of MobileSAM: convolutions first, then windowed attention with local convolutions.

Module names are those of MobileSAM's `mobile_sam.pt`, which therefore loads strictly.
Shapes: B images, side S of the input; the four stages work at strides 4, 8, 16 and 16.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.common import run_block
from model.encoder_configs import STAGE_STRIDES, TinyViTConfig
from model.encoders import ImageEmbedding, ImageEncoder
from model.image_encoder import DropPath, check_input, growing_rates, join_windows, make_neck, split_windows

_EARLY_STAGE = 1


class TinyViT(ImageEncoder):
    """(B, 3, S, S) normalised pixels to an image embedding (B, out_chans, S / 16, S / 16)."""

    def __init__(self, config: TinyViTConfig) -> None:
        super().__init__()
        self.config = config
        self.img_size = config.img_size
        self.patch_embed = PatchEmbed(config.embed_dims[0])
        rates = iter(growing_rates(config.drop_path_rate, sum(config.depths)))
        self.layers = nn.ModuleList(
            Stage(config, i, drop_path_rates=[next(rates) for _ in range(depth)])
            for i, depth in enumerate(config.depths)
        )
        self.norm_head = nn.LayerNorm(config.embed_dims[-1])
        self.head = nn.Linear(config.embed_dims[-1], config.num_classes)
        self.apply(_init_linear)
        self.neck = make_neck(config.embed_dims[-1], config.out_chans)
        self.early_chans = config.embed_dims[_EARLY_STAGE + 1]

    def forward(self, images: Tensor) -> ImageEmbedding:
        """Early features are those that the second stage hands on, as published for SAM-HQ."""
        check_input(images, self.img_size)
        features = self.patch_embed(images)
        early: Tensor | None = None
        for number, layer in enumerate(self.layers):
            features = run_block(layer, features, forget=self.checkpoint_activations)
            if number == _EARLY_STAGE:
                early = features
        return ImageEmbedding(self.neck(features), early=early)


class ConvNorm(nn.Sequential):
    """A convolution without bias and its batch norm, named `c` and `bn`."""

    def __init__(
        self, in_chans: int, out_chans: int, kernel_size: int, *, stride: int = 1, groups: int = 1, scale: float = 1.0
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.add_module("c", nn.Conv2d(in_chans, out_chans, kernel_size, stride, padding, groups=groups, bias=False))
        norm = nn.BatchNorm2d(out_chans)
        nn.init.constant_(norm.weight, scale)
        self.add_module("bn", norm)


class PatchEmbed(nn.Module):
    """(B, 3, S, S) to (B, C, S / 4, S / 4) by two convolutions of stride 2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, dim // 2, 3, stride=2), nn.GELU(), ConvNorm(dim // 2, dim, 3, stride=2))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.seq(images)
        return features


class Stage(nn.Module):
    """Blocks of one resolution, then, except after the last, the step to the next; (B, C, G, G) in and out."""

    def __init__(self, config: TinyViTConfig, index: int, *, drop_path_rates: list[float]) -> None:
        super().__init__()
        dim = config.embed_dims[index]
        self.blocks = nn.ModuleList(
            MBConv(dim, drop_path_rate=rate)
            if index == 0
            else TinyViTBlock(
                dim,
                config.num_heads[index],
                window_size=config.window_sizes[index],
                grid_size=config.img_size // STAGE_STRIDES[index],
                mlp_ratio=config.mlp_ratio,
                drop_path_rate=rate,
            )
            for rate in drop_path_rates
        )
        self.downsample: PatchMerging | None = None
        if index + 1 < len(STAGE_STRIDES):
            stride = STAGE_STRIDES[index + 1] // STAGE_STRIDES[index]
            self.downsample = PatchMerging(dim, config.embed_dims[index + 1], stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features)
        return features if self.downsample is None else self.downsample(features)


class MBConv(nn.Module):
    """An inverted bottleneck: widen four times, 3x3 by channel, narrow, add."""

    def __init__(self, dim: int, *, drop_path_rate: float) -> None:
        super().__init__()
        hidden = 4 * dim
        self.conv1 = ConvNorm(dim, hidden, 1)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, dim, 1, scale=0.0)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, features: Tensor) -> Tensor:
        branch = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))
        return F.gelu(features + self.drop_path(branch))


class PatchMerging(nn.Module):
    """(B, C, G, G) to (B, C', G / stride, G / stride)."""

    def __init__(self, in_chans: int, out_chans: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_chans, out_chans, 1)
        self.conv2 = ConvNorm(out_chans, out_chans, 3, stride=stride, groups=out_chans)
        self.conv3 = ConvNorm(out_chans, out_chans, 1)

    def forward(self, features: Tensor) -> Tensor:
        merged: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))
        return merged


class TinyViTBlock(nn.Module):
    """Windowed attention, a 3x3 convolution by channel, an MLP; (B, C, G, G) in and out."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window_size: int,
        grid_size: int,
        mlp_ratio: float,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.attn = WindowAttention(dim, num_heads, side=window_size)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.permute(0, 2, 3, 1)
        tokens = tokens + self.drop_path(self._attend(tokens))
        tokens = self.local_conv(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        tokens = tokens + self.drop_path(self.mlp(tokens))
        return tokens.permute(0, 3, 1, 2)

    def _attend(self, tokens: Tensor) -> Tensor:
        windows = split_windows(tokens, self.window_size)
        return join_windows(self.attn(windows), grid_hw=(tokens.shape[1], tokens.shape[2]))


class WindowAttention(nn.Module):
    """Multi-head attention in a window (windows, k, k, C), with one learnt bias a head for each |dy|, |dx|."""

    def __init__(self, dim: int, num_heads: int, *, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, side * side))
        self.register_buffer("attention_bias_idxs", _offset_indexes(side), persistent=False)

    attention_bias_idxs: Tensor

    def forward(self, windows: Tensor) -> Tensor:
        count, height, width, dim = windows.shape
        # The channels are laid out head by head, and within a head query, key, value.
        qkv = self.qkv(self.norm(windows)).reshape(count, height * width, self.num_heads, 3, -1)
        query, key, value = qkv.permute(3, 0, 2, 1, 4).unbind(0)  # each (windows, heads, k * k, C / heads)
        bias = self.attention_biases[:, self.attention_bias_idxs].to(query.dtype)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(count, height, width, dim))
        return mixed


class Mlp(nn.Module):
    """Norm, then two linear layers with a GELU between, on the last axis."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(tokens))))
        return out


def _offset_indexes(side: int) -> Tensor:
    """(side * side, side * side) index of the bias for each pair of window positions: |dy| * side + |dx|."""
    positions = torch.arange(side)
    distance = (positions[:, None] - positions[None, :]).abs()
    index = distance[:, None, :, None] * side + distance[None, :, None, :]
    return index.reshape(side * side, side * side)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
