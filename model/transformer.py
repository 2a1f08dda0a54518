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

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, *, q_index: Tensor | None = None, k_index: Tensor | None = None
    ) -> Tensor:
        """q: (N, Tq, C); k, v: (N, Tk, C). Returns (N, Tq, C).

        q_index, k_index: (N,), which row of q, or of k and v, each of the N takes, where there are fewer rows: what
        several share is projected once.
        """
        q, k, v = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        if q_index is not None:
            q = q.index_select(0, q_index)
        if k_index is not None:
            k, v = k.index_select(0, k_index), v.index_select(0, k_index)
        mixed = F.scaled_dot_product_attention(self._split(q), self._split(k), self._split(v))
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

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor, *, image_index: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """queries, query_pe: (N, T, C); keys: (N, P, C); key_pe: (1, P, C). Returns queries and keys, updated.

        image_index: (N,), where keys are (B, P, C) still, the same for all prompts on an image.
        """
        if self.skip_first_layer_pe:
            queries = self.dropout(self.self_attn(queries, queries, queries))
        else:
            placed = queries + query_pe
            queries = queries + self.dropout(self.self_attn(placed, placed, queries))
        queries = self.norm1(queries)
        placed_keys = keys + key_pe
        queries = queries + self.dropout(
            self.cross_attn_token_to_image(queries + query_pe, placed_keys, keys, k_index=image_index)
        )
        queries = self.norm2(queries)
        queries = self.norm3(queries + self.dropout(self.mlp(queries)))
        answer = self.cross_attn_image_to_token(placed_keys, queries + query_pe, queries, q_index=image_index)
        keys = keys if image_index is None else keys.index_select(0, image_index)
        return queries, self.norm4(keys + self.dropout(answer))


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

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, tokens: Tensor, *, image_index: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """image_embedding: (N, C, H, W); image_pe: (1, C, H, W); tokens: (N, T, C), also their own positions.

        image_index: (N,), where image_embedding is (B, C, H, W), the same for all prompts on an image: the first layer
        then projects each image once, not once a prompt. Returns the tokens (N, T, C) and the image (N, P, C).
        """
        keys = image_embedding.flatten(2).transpose(1, 2)
        key_pe = image_pe.flatten(2).transpose(1, 2)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, key_pe, image_index=image_index)
            image_index = None
        queries = queries + self.final_attn_token_to_image(queries + tokens, keys + key_pe, keys)
        return self.norm_final_attn(queries), keys
