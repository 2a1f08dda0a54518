"""What the rest of the house needs of the module of an image encoder; `model.encoder_configs` has them by name.

Shapes: B images, S side of the square input, C = 256 channels, G = S / 16 side of the image embedding.
"""

from typing import NamedTuple

from torch import Tensor, nn

from model.common import FrozenBatchNorm2d

EMBED_DIM = 256
EMBEDDING_STRIDE = 16  # pixels of the input per pixel of the image embedding


class ImageEmbedding(NamedTuple):
    """What the image encoder made of B images: (B, C, G, G), and finer features for decoders that use them.

    early: (B, E, G, G), what an early layer made, for the decoder that fuses it; not in what `Sam.encode` returns.
    depth: (B,) int64, of a model that remembers others (`model.remembering`): which of them encoded each image; 0 is
    the outermost. None: it remembers none.
    """

    features: Tensor
    high_res: tuple[Tensor, ...] = ()
    early: Tensor | None = None
    depth: Tensor | None = None

    @property
    def twice_as_fine(self) -> Tensor | None:
        """Features at twice the side of `features`, where there are any."""
        side = 2 * self.features.shape[-1]
        return next((each for each in self.high_res if each.shape[-1] == side), None)

    def split(self) -> "list[ImageEmbedding]":
        """One embedding for each of the B images."""
        single = [
            ImageEmbedding(features, tuple(high_res))
            for features, *high_res in zip(
                self.features.split(1), *(each.split(1) for each in self.high_res), strict=True
            )
        ]
        if self.depth is None:
            return single
        return [each._replace(depth=depth) for each, depth in zip(single, self.depth.split(1), strict=True)]


class ImageEncoder(nn.Module):
    """Base of all image encoders: (B, 3, S, S) normalised pixels to an `ImageEmbedding`.

    `forward` returns features (B, 256, G, G); where `high_res_chans` is set the finer ones, at strides 4 and 8, with
    those channels; and where `early_chans` is set the output (B, early_chans, G, G) of an early layer. Everything but
    `img_size` and `forward` may stay as it is here.

    img_size: S. high_res_chans: channels of the features at strides 4 and 8, None where there are none.
    early_chans: channels of the early features, None where there are none.
    side_multiple_px: the input side may be any multiple of it; None where the weights depend on S.
    checkpoint_activations: in training, compute again in the backward pass instead of keeping (`common.run_block`).
    """

    img_size: int
    high_res_chans: tuple[int, int] | None = None
    early_chans: int | None = None
    side_multiple_px: int | None = None
    checkpoint_activations: bool = False

    @property
    def depth(self) -> int | None:
        """Layers between the pixels and the neck that may learn at rates of their own; None: no such order."""
        return None

    def layer_of(self, name: str) -> int:
        """Where the parameter `name` of this module lies: 0 before the first layer, depth + 1 behind the last.

        Asked only of encoders that have a depth.
        """
        raise NotImplementedError(f"{type(self).__name__} has no layers in order")

    @property
    def mixes_pictures(self) -> bool:
        """Whether, in training, what becomes of a picture depends on the others of its batch."""
        norms = (module for module in self.modules() if isinstance(module, nn.BatchNorm2d))
        return any(not isinstance(norm, FrozenBatchNorm2d) for norm in norms)

    def load_pretrained(self) -> None:
        """Give a new encoder the weights that its training starts from; here: leave the random ones.

        Raises InputError where they are not installed, with the way to get them.
        """
