"""The two-way transformer of SAM's mask decoder (SAM paper, appendix A, figure 14).

Shapes: N prompts, T tokens a prompt, P = H * W pixels of the image embedding, C channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from model.common import MLPBlock


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than the embedding (`downsample_rate`)."""

    def __init__(self, embedding_dim: int, num_heads: int, *, downsample_rate: int = 1) -> None:
        super().__init__()
        inner_dim = embedding_dim // downsample_rate
        if inner_dim % num_heads:
            raise ValueError(f"inner width {inner_dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embedding_dim, inner_dim)
        self.k_proj = nn.Linear(embedding_dim, inner_dim)
        self.v_proj = nn.Linear(embedding_dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, embedding_dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q: (N, Tq, C); k, v: (N, Tk, C). Returns (N, Tq, C)."""
        mixed = F.scaled_dot_product_attention(
            self._split(self.q_proj(q)), self._split(self.k_proj(k)), self._split(self.v_proj(v))
        )
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class TwoWayAttentionBlock(nn.Module):
    """Tokens attend to themselves and to the image, pass an MLP, and the image attends back to them."""

    def __init__(
        self, embedding_dim: int, num_heads: int, mlp_dim: int, *, skip_first_layer_pe: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.self_attn = Attention(embedding_dim, num_heads)
        self.norm1 = nn.LayerNorm(embedding_dim)
        self.cross_attn_token_to_image = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.norm2 = nn.LayerNorm(embedding_dim)
        self.mlp = MLPBlock(embedding_dim, mlp_dim, act=nn.ReLU)
        self.norm3 = nn.LayerNorm(embedding_dim)
        self.norm4 = nn.LayerNorm(embedding_dim)
        self.cross_attn_image_to_token = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.dropout = nn.Dropout(dropout)
        self.skip_first_layer_pe = skip_first_layer_pe

    def forward(self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor) -> tuple[Tensor, Tensor]:
        """queries, query_pe: (N, T, C); keys, key_pe: (N, P, C). Returns both, updated."""
        if self.skip_first_layer_pe:
            queries = self.dropout(self.self_attn(queries, queries, queries))
        else:
            placed = queries + query_pe
            queries = queries + self.dropout(self.self_attn(placed, placed, queries))
        queries = self.norm1(queries)
        placed_keys = keys + key_pe
        queries = queries + self.dropout(self.cross_attn_token_to_image(queries + query_pe, placed_keys, keys))
        queries = self.norm2(queries)
        queries = self.norm3(queries + self.dropout(self.mlp(queries)))
        keys = self.norm4(keys + self.dropout(self.cross_attn_image_to_token(placed_keys, queries + query_pe, queries)))
        return queries, keys


class TwoWayTransformer(nn.Module):
    """A stack of two-way blocks and one last attention from the tokens to the image."""

    def __init__(self, *, depth: int, embedding_dim: int, num_heads: int, mlp_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(embedding_dim, num_heads, mlp_dim, skip_first_layer_pe=layer == 0, dropout=dropout)
            for layer in range(depth)
        )
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def forward(self, image_embedding: Tensor, image_pe: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """image_embedding, image_pe: (N, C, H, W); tokens: (N, T, C), which also serve as their own positions.

        Returns the tokens (N, T, C) and the image (N, P, C).
        """
        keys = image_embedding.flatten(2).transpose(1, 2)
        key_pe = image_pe.flatten(2).transpose(1, 2)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, key_pe)
        queries = queries + self.final_attn_token_to_image(queries + tokens, keys + key_pe, keys)
        return self.norm_final_attn(queries), keys
