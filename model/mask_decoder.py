"""SAM's mask decoder (SAM paper, appendix A, figure 14).

Shapes: B images, N prompts over all of them, T prompt tokens, C = 256 channels, (H, W) side of the image embedding.
"""

from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.common import LayerNorm2d
from model.encoders import ImageEmbedding
from model.transformer import TwoWayTransformer


class MaskPrediction(NamedTuple):
    """logits: (N, M, 4H, 4W), masks where above 0; predicted_iou: (N, M). M = 3 with multimask output, else 1;
    of SAM-HQ always 1.
    """

    logits: Tensor
    predicted_iou: Tensor


class MaskDecoder(nn.Module):
    """Predicts three masks for an ambiguous prompt, or one, each with its predicted IoU.

    iou_place: of the IoU token among the output tokens; those of the masks follow it. mixes_neighbours: whether a pixel
    of a mask depends on upscaled features beside it.
    """

    mixes_neighbours: ClassVar[bool] = False
    iou_place: ClassVar[int] = 0

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: TwoWayTransformer,
        num_multimask_outputs: int = 3,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
        high_res_chans: tuple[int, int] | None = None,
    ) -> None:
        """high_res_chans: channels of the encoder's features at 4x and 2x the embedding's side, None to use none."""
        super().__init__()
        self.transformer = transformer
        self.num_mask_tokens = num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, transformer_dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, transformer_dim)
        quarter, eighth = transformer_dim // 4, transformer_dim // 8
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(transformer_dim, quarter, kernel_size=2, stride=2),
            LayerNorm2d(quarter),
            nn.GELU(),
            nn.ConvTranspose2d(quarter, eighth, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.uses_high_res = high_res_chans is not None
        if high_res_chans is not None:
            self.conv_s0 = nn.Conv2d(high_res_chans[0], eighth, kernel_size=1)
            self.conv_s1 = nn.Conv2d(high_res_chans[1], quarter, kernel_size=1)
            # They start silent: image features that no prompt has touched would drown what prompts say, and a new
            # decoder would need many more steps to find its prompt (0.22 against 0.01 mIoU after 200).
            for parameter in (*self.conv_s0.parameters(), *self.conv_s1.parameters()):
                nn.init.zeros_(parameter)
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(transformer_dim, transformer_dim, eighth, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(transformer_dim, iou_head_hidden_dim, self.num_mask_tokens, iou_head_depth)

    def forward(
        self,
        *,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        image_index: Tensor | None = None,
        high_res: tuple[Tensor, ...] = (),
    ) -> MaskPrediction:
        """Predict masks for N prompts over B images.

        image_embeddings: (B, C, H, W). image_pe: (1, C, H, W). sparse_prompt_embeddings: (N, T, C).
        dense_prompt_embeddings: (N, C, H, W), or (1, C, H, W) where all prompts have the same.
        image_index: (N,), the image of each prompt; None where B is 1.
        high_res: what `share` returned for the B images.
        """
        count = len(sparse_prompt_embeddings)
        if image_index is None:
            image_index = torch.zeros(count, dtype=torch.long, device=image_embeddings.device)
        tokens = torch.cat([self.output_tokens.expand(count, -1, -1), sparse_prompt_embeddings], dim=1)
        alike = len(dense_prompt_embeddings) == 1 and count > 1
        image = image_embeddings if alike else image_embeddings.index_select(0, image_index)
        image = image + dense_prompt_embeddings
        tokens, pixels = self.transformer(image, image_pe, tokens, image_index=image_index if alike else None)
        pixels = pixels.transpose(1, 2).unflatten(2, image.shape[-2:])
        return self._predict(tokens, pixels, high_res, image_index, multimask_output)

    @property
    def output_tokens(self) -> Tensor:
        """What stands before the tokens of the prompt: (T', C)."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def share(self, embedding: ImageEmbedding) -> tuple[Tensor, ...]:
        """Once an image, of what the encoder made: finer features in the decoder's channels, at 4x and 2x its side."""
        if not self.uses_high_res:
            return ()
        fine, middle = embedding.high_res
        return self.conv_s0(fine), self.conv_s1(middle)

    def predict_iou(self, tokens: Tensor) -> Tensor:
        """Predicted IoU (N, 4) of the single mask and of the three, from tokens (N, T, C)."""
        predicted_iou: Tensor = self.iou_prediction_head(tokens[:, self.iou_place])
        return predicted_iou

    def mask_weights(self, tokens: Tensor, chosen: slice) -> Tensor:
        """What mixes the upscaled features to those of the four masks that are chosen: (N, M, C / 8)."""
        first = self.iou_place + 1
        of_masks = list(enumerate(self.output_hypernetworks_mlps, start=first))[chosen]
        return torch.stack([mlp(tokens[:, place]) for place, mlp in of_masks], dim=1)

    def chosen(self, multimask_output: bool) -> slice:
        """Which of the four are computed."""
        return slice(1, None) if multimask_output else slice(0, 1)

    def settled(self, computed: MaskPrediction) -> MaskPrediction:
        """The answer, from what was computed."""
        return computed

    def _predict(
        self, tokens: Tensor, pixels: Tensor, shared: tuple[Tensor, ...], image_index: Tensor, multimask_output: bool
    ) -> MaskPrediction:
        """tokens: (N, T, C) and pixels: (N, C, H, W), as they come out of the transformer."""
        weights, predicted_iou = self.read(tokens, multimask_output)
        logits = self.mix(weights, self._upscale(pixels, shared, image_index), shared, image_index)
        return self.settled(MaskPrediction(logits, predicted_iou))

    def read(self, tokens: Tensor, multimask_output: bool) -> tuple[Tensor, Tensor]:
        """What `mix` mixes by (N, W, C / 8), and the predicted IoU (N, M), from tokens (N, T, C)."""
        chosen = self.chosen(multimask_output)
        return self.mask_weights(tokens, chosen), self.predict_iou(tokens)[:, chosen]

    def mix(self, weights: Tensor, upscaled: Tensor, shared: tuple[Tensor, ...], image_index: Tensor) -> Tensor:
        """Logits (N, M, h, w) from weights (N, W, c) and upscaled features (N, c, h, w)."""
        return torch.einsum("nmc,nchw->nmhw", weights, upscaled)

    def _upscale(self, pixels: Tensor, high_res: tuple[Tensor, ...], image_index: Tensor) -> Tensor:
        if not self.uses_high_res:
            return self.output_upscaling(pixels)
        first, norm, act, second, last_act = self.output_upscaling
        fine, middle = high_res
        half = act(norm(first(pixels) + middle.index_select(0, image_index)))
        return last_act(second(half) + fine.index_select(0, image_index))


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)
