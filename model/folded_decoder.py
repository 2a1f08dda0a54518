"""Many prompts on one image: the mask decoder, with everything that the prompts share computed once.

The numbers are those of `model.mask_decoder` up to rounding. The image side of the two-way transformer, its keys, is
never made. A mask prompt adds to every pixel a mixture of 17 vectors (the last convolution of its way down has 16
inputs). When the image attends to T tokens with A heads, every pixel gets a mixture of A * T vectors, and a layer norm
scales pixels. So the keys of prompt n stay of the form

    keys[n, p] = scale[n, p] * shared[p] + sum over r of factors[n, r, p] * rows[n, r] + bias

with `shared` the same for all prompts; `model.folded_keys` has the equations. A projection of keys is a projection of
`shared`, done once an image, and products with few rows; the variance that a layer norm divides by is a quadratic form
in the factors.

Shapes: N prompts, T tokens each; A = 8 heads of D = 16 channels in cross attention; C = 256 channels; P = H * W pixels
of the image embedding; R rows, M of a mask prompt and A * T + 1 for each layer passed; K masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.common import LayerNorm2d
from model.denormals import flushed
from model.folded_image import Projection, SharedImage, SharedLayer, SharedNorm, SharedUpscaling
from model.folded_keys import Keys, attend, attend_back, centred, weight_by_head
from model.lanes import lane_count, side_by_side
from model.mask_decoder import MaskDecoder
from model.transformer import TwoWayAttentionBlock

PROMPTS_A_LANE = 8  # on a CPU, prompts whose tokens are in hand together
BESIDE = -32.0  # logit where none is made: no mask, by any threshold in use


class FoldedDecoder:
    """A `MaskDecoder` in evaluation mode, for many prompts on one image.

    dtype: of what is computed for each pixel; tokens stay in the decoder's own type.
    """

    def __init__(self, decoder: MaskDecoder, *, dtype: torch.dtype = torch.float32) -> None:
        self.decoder = decoder
        self.dtype = dtype

    def precompute(
        self,
        image: Tensor,
        image_pe: Tensor,
        mask_rows: Tensor,
        high_res: tuple[Tensor, ...] = (),
        *,
        used_hw: tuple[int, int] | None = None,
    ) -> SharedImage:
        """Once an image. image: (1, C, H, W), its embedding plus what stands for no mask; image_pe: (1, C, H, W).

        mask_rows: (M, C), what `PromptEncoder.mask_rows` returns.
        high_res: what `MaskDecoder.share` returned for the image.
        used_hw: rows and columns, from the top left, whose logits are wanted; the others' are BESIDE. None: all.
        """
        shared, position = _pixels(image), _pixels(image_pe)
        bias, layers, of_mask = torch.zeros_like(shared[0]), [], mask_rows
        mixed: list[Tensor] = []
        biases: list[Tensor] = []
        for layer in _blocks(self.decoder):
            to_image, to_tokens, norm = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token, layer.norm4
            keys = self._project(to_image.k_proj, shared, position + bias, to_image.num_heads)
            values = self._project(to_image.v_proj, shared, bias[None], to_image.num_heads)
            queries = self._project(to_tokens.q_proj, shared, position + bias, to_tokens.num_heads)
            new_bias = bias + to_tokens.out_proj.bias
            shared = centred(shared)
            mixed = [
                centred(each) for each in (*mixed, weight_by_head(to_tokens.out_proj.weight.T, to_tokens.num_heads))
            ]
            biases = [centred(each) for each in (*biases, new_bias)]
            of_mask = centred(of_mask)
            by_head = [(each @ shared.T).to(self.dtype) for each in mixed]
            by_bias = [(shared @ each).to(self.dtype) for each in biases]
            in_norm = SharedNorm(shared.square().mean(1), (of_mask @ shared.T).to(self.dtype), by_head, by_bias)
            layers.append(SharedLayer(keys, values, queries, in_norm, new_bias))
            shared, bias = shared * norm.weight, norm.bias
            mixed, biases = [each * norm.weight for each in mixed], [each * norm.weight for each in biases]
            of_mask = of_mask * norm.weight
        final = self.decoder.transformer.final_attn_token_to_image
        final_keys = self._project(final.k_proj, shared, position + bias, final.num_heads)
        final_values = self._project(final.v_proj, shared, bias[None], final.num_heads)
        hw = (image.shape[2], image.shape[3])
        added = high_res if self.decoder.uses_high_res else ()
        upscaling = self._share_upscaling(shared.unflatten(0, hw), bias, added, used_hw or hw)
        return SharedImage(layers, mask_rows, final_keys, final_values, upscaling, hw, high_res)

    def prompt(
        self, image: SharedImage, sparse: Tensor, mask_factors: Tensor | None = None, *, multimask_output: bool
    ) -> "FoldedMasks":
        """sparse: (N, T', C), the embeddings of N prompts; T' of the T tokens are theirs. No gradients flow.

        mask_factors: (N, M, P), what `PromptEncoder.mask_factors` returns, None for prompts without masks.
        """
        if mask_factors is None:
            mask_factors = sparse.new_empty(len(sparse), 0, image.hw[0] * image.hw[1])
        size = _prompts_a_part(len(sparse), sparse.device)
        parts = list(zip(sparse.split(size), mask_factors.split(size), strict=True))
        prompted = side_by_side(lambda part: self._prompt(image, *part, multimask_output), parts)
        return FoldedMasks(prompted, image, self.decoder)

    @flushed()
    def _prompt(self, image: SharedImage, sparse: Tensor, mask_factors: Tensor, multimask_output: bool) -> "Prompted":
        decoder = self.decoder
        tokens = torch.cat([decoder.output_tokens.expand(len(sparse), -1, -1), sparse], dim=1)
        keys, queries = self._first_keys(image, tokens, mask_factors), tokens
        for layer, shared in zip(_blocks(decoder), image.layers, strict=True):
            queries = _self_attention(layer, queries, tokens)
            mixed = attend(layer.cross_attn_token_to_image, queries + tokens, keys, shared.keys, shared.values)
            queries = layer.norm2(queries + mixed)
            queries = layer.norm3(queries + layer.mlp(queries))
            attend_back(layer, queries, tokens, keys, shared)
        transformer = decoder.transformer
        final = transformer.final_attn_token_to_image
        mixed = attend(final, queries + tokens, keys, image.final_keys, image.final_values)
        queries = transformer.norm_final_attn(queries + mixed)
        weights, predicted_iou = decoder.read(queries, multimask_output)
        return Prompted(predicted_iou, weights, keys)

    def _first_keys(self, image: SharedImage, tokens: Tensor, mask_factors: Tensor) -> Keys:
        count, each, chans = tokens.shape
        of_masks, pixels = mask_factors.shape[1:]
        size = of_masks + len(image.layers) * (image.final_keys.of_shared.shape[0] * each + 1)
        scale = tokens.new_ones(count, pixels, dtype=self.dtype)
        factors = tokens.new_empty(count, size, pixels, dtype=self.dtype)
        rows = tokens.new_empty(count, size, chans)
        if of_masks:
            factors[:, :of_masks], rows[:, :of_masks] = mask_factors, image.mask_rows
        return Keys(scale, factors, rows, of_masks, of_masks, [])

    def _project(self, linear: nn.Linear, shared: Tensor, constant: Tensor, heads: int) -> Projection:
        of_shared, of_constant = (weight_by_head(linear.weight @ each.T, heads) for each in (shared, constant))
        of_constant = of_constant + weight_by_head(linear.bias[:, None], heads)
        return Projection(of_shared.to(self.dtype), of_constant.to(self.dtype), weight_by_head(linear.weight, heads))

    def _share_upscaling(
        self, shared: Tensor, bias: Tensor, high_res: tuple[Tensor, ...], used_hw: tuple[int, int]
    ) -> SharedUpscaling:
        """shared: (H, W, C)."""
        height, width = used_hw
        used = shared[:height, :width].reshape(height * width, -1)
        half, quarter = (cast(nn.ConvTranspose2d, self.decoder.output_upscaling[at]) for at in (0, 3))
        half_weight = half.weight.permute(2, 3, 1, 0)  # (2, 2, C / 4, C)
        half_weight = (half_weight - half_weight.mean(dim=2, keepdim=True)).flatten(0, 2)
        half_bias = (half_weight @ bias + centred(_bias(half)).repeat(4))[:, None]
        quarter_weight = quarter.weight.permute(2, 3, 1, 0).flatten(0, 2)
        quarter_bias = _bias(quarter).repeat(4)[:, None]
        if high_res:
            finest, middle = high_res[0][..., : 4 * height, : 4 * width], high_res[1][..., : 2 * height, : 2 * width]
            centred_middle = middle - middle.mean(dim=1, keepdim=True)
            half_bias = half_bias + _four_pixels(centred_middle)[0].flatten(0, 1).flatten(1)
            # Twice: the four pixels that an embedding's pixel becomes, and the four that each of those becomes.
            sixteen = _four_pixels(_four_pixels(finest)[0])  # (4 of the finer, 4 of the coarser, C / 8, H, W)
            quarter_bias = quarter_bias + sixteen.transpose(0, 1).flatten(1, 2).flatten(2)
        in_pixels = (each.to(self.dtype) for each in (half_weight @ used.T, half_bias, quarter_weight, quarter_bias))
        return SharedUpscaling(used_hw, half_weight, *in_pixels)


@dataclass(frozen=True)
class Prompted:
    """N prompts through the transformer. predicted_iou: (N, M). weights: (N, W, C / 8), of the hypernetworks."""

    predicted_iou: Tensor
    weights: Tensor
    keys: Keys


class FoldedMasks:
    """The masks of N prompts: predicted IoUs (N, M), and logits made for those masks that are asked for."""

    def __init__(self, prompted: Sequence[Prompted], image: SharedImage, decoder: MaskDecoder) -> None:
        """prompted: the N prompts in parts of one size, but for the last."""
        self.predicted_iou = torch.cat([part.predicted_iou for part in prompted])
        self._prompted, self._image, self._decoder = prompted, image, decoder

    @torch.no_grad()
    def logits(self, index: Tensor, /) -> Tensor:
        """(K, 4H, 4W) logits of the masks `index` (K,), which counts through (N, M) row by row."""
        (height, width), masks = self._image.hw, self.predicted_iou.shape[1]
        out = self.predicted_iou.new_full((len(index), 4 * height, 4 * width), BESIDE)
        height, width = self._image.upscaling.hw
        made = out[:, : 4 * height, : 4 * width]
        prompts, places = torch.unique(index // masks, return_inverse=True)
        size = len(self._prompted[0].weights)

        @flushed()
        def fill(number: int) -> None:
            part = self._prompted[number]
            mine = (prompts // size == number).nonzero().squeeze(1)
            for some in part.keys.chunks(len(mine)):
                wanted = ((places[:, None] == mine[some]).nonzero()).unbind(1)
                maps = self._maps(part, prompts[mine[some]] - number * size)
                made[wanted[0]] = maps[wanted[1], index[wanted[0]] % masks].to(out.dtype)

        side_by_side(fill, torch.unique(prompts // size).tolist())
        return out

    def _maps(self, part: Prompted, prompts: Tensor) -> Tensor:
        """(n, M, 4h, 4w) logits of all masks of n of a part's prompts, on the h rows and w columns that go up."""
        shared, keys = self._image.upscaling, part.keys
        norm = cast(LayerNorm2d, self._decoder.output_upscaling[1])
        dtype, (height, width) = keys.factors.dtype, shared.hw
        scale, factors = (
            each.unflatten(-1, self._image.hw)[prompts, ..., :height, :width].flatten(-2)
            for each in (keys.scale, keys.factors)
        )
        half = shared.half_bias + shared.half_of_shared * scale[:, None]
        half = half.baddbmm_((shared.half_weight @ keys.rows[prompts].mT).to(dtype), factors)
        half = half.unflatten(1, (4, -1))  # (n, 4, C / 4, P), norm over the channels
        deviation = half.square().mean(dim=2, keepdim=True).add_(norm.eps).rsqrt_()
        half.mul_(deviation).mul_(norm.weight.to(dtype)[:, None]).add_(norm.bias.to(dtype)[:, None])
        quarter = F.gelu((shared.quarter_weight @ F.gelu(half)).add_(shared.quarter_bias)).unflatten(2, (4, -1))
        weights = part.weights[prompts]
        if self._decoder.mixes_neighbours:
            of_image = torch.zeros(1, dtype=torch.long, device=weights.device)
            singly = zip(weights.split(1), quarter.to(weights.dtype).split(1), strict=True)
            high_res = self._image.high_res
            return torch.cat(
                [self._decoder.mix(w, _on_grid(each, shared.hw), high_res, of_image) for w, each in singly]
            )
        return _on_grid(weights[:, None, None].to(dtype) @ quarter, shared.hw)


def _on_grid(maps: Tensor, hw: tuple[int, int]) -> Tensor:
    """(n, 4, 4, K, h * w), each pixel's sixteen apart, to (n, K, 4h, 4w)."""
    (height, width), count = hw, len(maps)
    grid = maps.unflatten(4, hw).unflatten(2, (2, 2)).unflatten(1, (2, 2))  # n i j a b K y x
    return grid.permute(0, 5, 6, 1, 3, 7, 2, 4).reshape(count, -1, 4 * height, 4 * width)


def _prompts_a_part(count: int, device: torch.device) -> int:
    """How many prompts go through the transformer together: on a CPU few, so that each core has its own."""
    if device.type != "cpu":
        return max(count, 1)
    return max(1, min(PROMPTS_A_LANE, -(-count // lane_count())))


def _self_attention(layer: TwoWayAttentionBlock, queries: Tensor, tokens: Tensor) -> Tensor:
    if layer.skip_first_layer_pe:
        attended: Tensor = layer.norm1(layer.self_attn(queries, queries, queries))
    else:
        positioned = queries + tokens
        attended = layer.norm1(queries + layer.self_attn(positioned, positioned, queries))
    return attended


def _blocks(decoder: MaskDecoder) -> list[TwoWayAttentionBlock]:
    return cast(list[TwoWayAttentionBlock], list(decoder.transformer.layers))


def _bias(convolution: nn.ConvTranspose2d) -> Tensor:
    return cast(Tensor, convolution.bias)


def _pixels(grid: Tensor) -> Tensor:
    """(1, C, H, W) to (P, C)."""
    return grid[0].flatten(1).T.contiguous()


def _four_pixels(grid: Tensor) -> Tensor:
    """(B, C, 2H, 2W) to (B, 4, C, H, W): top left, top right, bottom left, bottom right."""
    return torch.stack([grid[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=1)
