"""SAM's prompt encoder: points, boxes and masks become tokens and a dense map (SAM paper, appendix A).

Shapes: N prompts, P points a prompt, (H, W) side of the image embedding, C = 256 channels.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from model.common import LayerNorm2d

NOT_A_POINT = -1  # label of a padding point
BOX_CORNERS = (2, 3)  # labels of a box's top-left and bottom-right corner


class PositionEmbeddingRandom(nn.Module):
    """Positions as sines and cosines of random projections (Fourier features, arXiv 2006.10739)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", scale * torch.randn(2, num_pos_feats))

    def forward(self, size: tuple[int, int]) -> Tensor:
        """Encodings of the pixel centres of a grid of `size` (H, W): (2 * num_pos_feats, H, W)."""
        device, dtype = self._device_and_dtype()
        height, width = size
        y = (torch.arange(height, device=device, dtype=dtype) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=dtype) + 0.5) / width
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return self._encode(grid).permute(2, 0, 1)

    def encode_pixels(self, coords: Tensor, image_size: tuple[int, int]) -> Tensor:
        """coords: (..., 2) as (x, y) in pixels of the model's input of `image_size` (H, W). Returns (..., C)."""
        height, width = image_size
        scale = torch.tensor([width, height], device=coords.device, dtype=torch.float32)
        return self._encode(coords.to(torch.float32) / scale)

    def _encode(self, coords: Tensor) -> Tensor:
        device = "cpu" if coords.is_meta else coords.device.type  # shapes alone have no autocast of their own
        with torch.autocast(device, enabled=False):  # half precision would blur positions by pixels
            angles = 2 * math.pi * ((2 * coords - 1) @ self.positional_encoding_gaussian_matrix)
            return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def _device_and_dtype(self) -> tuple[torch.device, torch.dtype]:
        matrix = self.positional_encoding_gaussian_matrix
        return matrix.device, matrix.dtype


class PromptEncoder(nn.Module):
    """Encodes prompts given in pixels of the model's square input."""

    def __init__(
        self,
        *,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.input_image_size = input_image_size
        self.image_embedding_size = image_embedding_size
        self.mask_input_size = (4 * image_embedding_size[0], 4 * image_embedding_size[1])
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        # background point, foreground point, top-left corner, bottom-right corner
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_in_chans // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            nn.GELU(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans),
            nn.GELU(),
            nn.Conv2d(mask_in_chans, embed_dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    def get_dense_pe(self) -> Tensor:
        """Positions of the image embedding's pixels: (1, C, H, W)."""
        return self.pe_layer(self.image_embedding_size)[None]

    def forward(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encode N prompts of one kind.

        points: coordinates (N, P, 2) as (x, y) in input pixels and labels (N, P): 1 foreground, 0 background,
            -1 padding. boxes: (N, 4) XYXY in input pixels. masks: (N, 1, 4H, 4W) logits.
        Returns sparse tokens (N, T, C), T = P + 1 for points alone, P + 2 with a box, and a dense map (N, C, H, W).
        """
        count = self.count(points, boxes, masks)
        return self.embed_sparse(points, boxes, count), self.embed_masks(masks, count)

    def embed_sparse(self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, count: int) -> Tensor:
        """Tokens (N, T, C) of `count` prompts, as `forward` says."""
        tokens = [self.no_mask_embed.weight.new_zeros(count, 0, self.embed_dim)]
        if points is not None:
            coords, labels = points
            if boxes is None:  # the published model was trained with one padding point where there is no box
                coords = torch.cat([coords, coords.new_zeros(count, 1, 2)], dim=1)
                labels = torch.cat([labels, labels.new_full((count, 1), NOT_A_POINT)], dim=1)
            tokens.append(self.embed_points(coords, labels))
        if boxes is not None:
            corner_labels = torch.tensor(BOX_CORNERS, device=boxes.device).expand(count, -1)
            tokens.append(self.embed_points(boxes.reshape(-1, 2, 2), corner_labels))
        return torch.cat(tokens, dim=1)

    def embed_points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Tokens of points and box corners, with no padding added.

        coords: (N, P, 2) as (x, y) in input pixels. labels: (N, P): 1 foreground, 0 background, -1 padding,
        2 and 3 top-left and bottom-right corner of a box. Returns (N, P, C).
        """
        encoded = self.pe_layer.encode_pixels(coords + 0.5, self.input_image_size)
        kinds = torch.cat([*self.point_embeddings.parameters()])[labels.clamp(min=0)]
        return torch.where((labels == NOT_A_POINT)[..., None], self.not_a_point_embed.weight, encoded + kinds)

    def embed_masks(self, masks: Tensor | None, count: int) -> Tensor:
        """Dense map (N, C, H, W) of mask prompts (N, 1, 4H, 4W), or of `count` prompts that have none."""
        if masks is not None:
            return self.mask_downscaling(masks)
        return self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(count, -1, *self.image_embedding_size)

    def mask_rows(self) -> Tensor:
        """The few rows (R, C) that any mask's dense map, less that of no mask, is a mixture of at every pixel."""
        last: Any = self.mask_downscaling[-1]
        return torch.cat([last.weight.flatten(1).T, last.bias[None] - self.no_mask_embed.weight])

    def mask_factors(self, masks: Tensor) -> Tensor:
        """How much of each of `mask_rows` is at each pixel: (N, R, H * W) of mask prompts (N, 1, 4H, 4W)."""
        factors = self.mask_downscaling[:-1](masks).flatten(2)
        return torch.cat([factors, torch.ones_like(factors[:, :1])], dim=1)

    @staticmethod
    def count(points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None) -> int:
        """How many prompts there are. Raises ValueError where points, boxes and masks say different numbers."""
        counts = {len(given) for given in (points and points[0], boxes, masks) if given is not None}
        if len(counts) > 1:
            raise ValueError(f"points, boxes and masks must describe the same prompts, found counts {sorted(counts)}")
        return counts.pop() if counts else 1
