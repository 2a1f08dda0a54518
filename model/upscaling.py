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
    picture, and of the picture. direct: in one step from the logits to the picture, as SAM 2 does.
    """

    padded_hw: tuple[int, int]
    input_hw: tuple[int, int]
    image_hw: tuple[int, int]
    direct: bool = False

    def steps(self, low_hw: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """(height, width) of logits (h, w) after the first step, and of the part that is kept for the second."""
        return (low_hw, low_hw) if self.direct else (self.padded_hw, self.input_hw)

    def apply(self, logits: Tensor) -> Tensor:
        """Logits (N, C, h, w) to (N, C, H, W)."""
        padded_hw, (height, width) = self.steps((logits.shape[-2], logits.shape[-1]))
        padded = F.interpolate(logits, padded_hw, mode="bilinear", align_corners=False)
        return F.interpolate(padded[..., :height, :width], self.image_hw, mode="bilinear", align_corners=False)
