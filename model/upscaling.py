"""From the decoder's resolution to the pixels of the picture.

Shapes: N prompts, C masks each; (h, w) low-resolution logits; (H, W) the picture.
"""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Upscaling(NamedTuple):
    """The published way up: bilinear to the padded input, padding cut off, bilinear to the picture.

    Two steps on purpose: the published masks are made so, and one step gives other pixels at the borders.
    padded_hw, input_hw, image_hw: (height, width) in pixels of the encoder's input, of the part of it that shows the
    picture, and of the picture.
    """

    padded_hw: tuple[int, int]
    input_hw: tuple[int, int]
    image_hw: tuple[int, int]

    def apply(self, logits: Tensor) -> Tensor:
        """Logits (N, C, h, w) to (N, C, H, W)."""
        padded = F.interpolate(logits, self.padded_hw, mode="bilinear", align_corners=False)
        cut = padded[..., : self.input_hw[0], : self.input_hw[1]]
        return F.interpolate(cut, self.image_hw, mode="bilinear", align_corners=False)
