"""What all prompts on an image share in the folded decoder; `model.folded_decoder` says what it is for.

Shapes: A heads of D channels in cross attention; C = 256 channels; P = H * W pixels of the image embedding; M rows of
a mask prompt.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Projection:
    """A linear map of the keys to A heads, as far as it does not depend on the prompt.

    of_shared: (A, D, P). of_constant: the map of positions and bias, (A, D, P), or (A, D, 1) without positions.
    weight: (A, D, C), for the rows, in the decoder's own type.
    """

    of_shared: Tensor
    of_constant: Tensor
    weight: Tensor


@dataclass(frozen=True)
class SharedNorm:
    """What a layer's norm of the keys needs to know of `shared`, centred over the channels.

    power: (P,), its mean square, in the decoder's own type. by_mask: (M, P), its products with the rows of mask
    prompts. by_head, by_bias: for each layer so far those with what that layer's rows are made of, (A, D, P) and (P,).
    """

    power: Tensor
    by_mask: Tensor
    by_head: list[Tensor]
    by_bias: list[Tensor]


@dataclass(frozen=True)
class SharedLayer:
    """One layer's part. new_bias: (C,), the constant that joins the rows in it."""

    keys: Projection
    values: Projection
    queries: Projection
    norm: SharedNorm
    new_bias: Tensor


@dataclass(frozen=True)
class SharedUpscaling:
    """The two steps up. U = 4 * C / 4 and V = 4 * C / 8 channels: those of the four pixels that one becomes.

    hw: (h, w), the rows and columns of the embedding that go up, from the top left; p = h * w.
    half_weight: (U, C), centred over each pixel's channels, as the norm that follows would do; in the decoder's own
    type. half_of_shared: (U, p), its product with `shared`. half_bias: (U, p) or (U, 1), what joins that product.
    quarter_weight: (V, C / 4). quarter_bias: (4, V, p) or (V, 1), added before the last activation.
    """

    hw: tuple[int, int]
    half_weight: Tensor
    half_of_shared: Tensor
    half_bias: Tensor
    quarter_weight: Tensor
    quarter_bias: Tensor


@dataclass(frozen=True)
class SharedImage:
    """What all prompts on an image share; hw is (H, W). mask_rows: (M, C), those that a mask prompt mixes.

    high_res: what `MaskDecoder.share` returned. depth: of a model that remembers others (`model.remembering`), which of
    them it is of; 0 is the outermost.
    """

    layers: list[SharedLayer]
    mask_rows: Tensor
    final_keys: Projection
    final_values: Projection
    upscaling: SharedUpscaling
    hw: tuple[int, int]
    high_res: tuple[Tensor, ...] = ()
    depth: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """Of what is computed for each pixel."""
        return self.final_keys.of_shared.dtype
