"""The mask decoder of SAM-HQ (arXiv 2306.01567): a token of its own reads finer features and sharpens SAM's mask.

Module names are those of the published `sam_hq_vit_*.pth`, which therefore load strictly.
Shapes: B images, N prompts, C = 256 channels, E channels of the encoder's early features, (H, W) side of the image
embedding.
"""

import torch
from torch import Tensor, nn

from model.common import LayerNorm2d
from model.encoders import ImageEmbedding
from model.mask_decoder import MLP, MaskDecoder
from model.transformer import TwoWayTransformer


class HqMaskDecoder(MaskDecoder):
    """Gives one mask a prompt, also where three are asked for: the one of SAM's three with the highest predicted IoU,
    corrected by the mask of the HQ token. The predicted IoU is SAM's, of the mask before the correction.
    """

    mixes_neighbours = True  # by convolutions of 3x3

    def __init__(
        self, *, transformer_dim: int, transformer: TwoWayTransformer, early_chans: int, token_only: bool = False
    ) -> None:
        """early_chans: E. token_only: leave SAM's mask out, and give that of the HQ token alone."""
        super().__init__(transformer_dim=transformer_dim, transformer=transformer)
        self.token_only = token_only
        quarter, eighth = transformer_dim // 4, transformer_dim // 8
        self.hf_token = nn.Embedding(1, transformer_dim)
        self.hf_mlp = MLP(transformer_dim, transformer_dim, eighth, 3)
        self.compress_vit_feat = _four_times_larger(early_chans, transformer_dim, eighth)
        self.embedding_encoder = _four_times_larger(transformer_dim, quarter, eighth)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(eighth, quarter, kernel_size=3, padding=1),
            LayerNorm2d(quarter),
            nn.GELU(),
            nn.Conv2d(quarter, eighth, kernel_size=3, padding=1),
        )

    @property
    def output_tokens(self) -> Tensor:
        return torch.cat([super().output_tokens, self.hf_token.weight])

    def share(self, embedding: ImageEmbedding) -> tuple[Tensor, ...]:
        """Once an image: early and last features fused, (B, C / 8, 4H, 4W)."""
        if embedding.early is None:
            raise ValueError("SAM-HQ fuses early features, and the image encoder gave none")
        return (self.embedding_encoder(embedding.features) + self.compress_vit_feat(embedding.early),)

    def read(self, tokens: Tensor, multimask_output: bool) -> tuple[Tensor, Tensor]:
        """Weights of SAM's best mask and of the HQ token's (N, 2, C / 8), and the predicted IoU (N, 1)."""
        chosen = self.chosen(multimask_output)
        predicted_iou, place = self.predict_iou(tokens)[:, chosen].max(dim=1)
        best = self.mask_weights(tokens, chosen)[torch.arange(len(tokens), device=tokens.device), place]
        of_token = self.hf_mlp(tokens[:, 1 + self.num_mask_tokens])
        return torch.stack([best, of_token], dim=1), predicted_iou[:, None]

    def mix(self, weights: Tensor, upscaled: Tensor, shared: tuple[Tensor, ...], image_index: Tensor) -> Tensor:
        (fused,), (height, width) = shared, upscaled.shape[-2:]
        fine = self.embedding_maskfeature(upscaled) + fused[..., :height, :width].index_select(0, image_index)
        logits = _mixed(weights[:, 1], fine)
        if not self.token_only:
            logits = logits + _mixed(weights[:, 0], upscaled)
        return logits[:, None]


def _four_times_larger(in_chans: int, mid_chans: int, out_chans: int) -> nn.Sequential:
    """(B, in_chans, H, W) to (B, out_chans, 4H, 4W)."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_chans, mid_chans, kernel_size=2, stride=2),
        LayerNorm2d(mid_chans),
        nn.GELU(),
        nn.ConvTranspose2d(mid_chans, out_chans, kernel_size=2, stride=2),
    )


def _mixed(weights: Tensor, features: Tensor) -> Tensor:
    """Weights (N, c) and features (N, c, h, w) to logits (N, h, w)."""
    return torch.einsum("nc,nchw->nhw", weights, features)
