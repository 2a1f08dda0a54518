"""An image encoder of four strided convolutions: too small to be good, and all that an encoder needs.

    pip install --no-deps -e examples/toy_encoder
    sam-engine train --size toy --coco masks.json --steps 200 --name my-toy
    sam-engine generate photo.jpg --output out --model my-toy

`ToyConfig` goes into a model's config.json and builds the module. `toy` is a model size: what `--size` starts from, and
what a weights file is recognised as. Shapes: B images, S side of the square input in pixels.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from model.common import LayerNorm2d, run_block
from model.config import SamConfig
from model.encoders import EMBED_DIM, ImageEmbedding, ImageEncoder


@dataclass(frozen=True)
class ToyConfig:
    """width: channels at stride 2; each further stride has twice as many."""

    width: int = 16
    img_size: int = 256

    kind: ClassVar[str] = "toy"
    generator_preset: ClassVar[str] = "nano"
    retrain_lr_factor: ClassVar[float] = 1.0

    def build(self) -> "ToyEncoder":
        return ToyEncoder(self)


class ToyEncoder(ImageEncoder):
    """Features at strides 2, 4, 8 and 16; the last becomes the embedding, those at 4 and 8 are the finer ones."""

    side_multiple_px = 16  # no weight depends on the input's side

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.img_size = config.img_size
        chans = [3, *(config.width * 2**step for step in range(4))]
        self.high_res_chans = (chans[2], chans[3])
        self.blocks = nn.ModuleList(Halve(before, after) for before, after in pairwise(chans))
        self.neck = nn.Sequential(nn.Conv2d(chans[4], EMBED_DIM, 1), LayerNorm2d(EMBED_DIM))

    def forward(self, pixels: Tensor) -> ImageEmbedding:
        """pixels: (B, 3, S, S), normalised."""
        features = [pixels]
        for block in self.blocks:
            features.append(run_block(block, features[-1], forget=self.checkpoint_activations))
        return ImageEmbedding(self.neck(features[4]), (features[2], features[3]))

    @property
    def depth(self) -> int:
        return len(self.blocks)

    def layer_of(self, name: str) -> int:
        part, number, *_ = name.split(".")
        return 1 + int(number) if part == "blocks" else self.depth + 1


class Halve(nn.Module):
    """(B, C, H, W) to (B, C', H / 2, W / 2)."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 3, stride=2, padding=1)
        self.norm = LayerNorm2d(out_chans)

    def forward(self, features: Tensor) -> Tensor:
        return F.gelu(self.norm(self.conv(features)))


def toy() -> SamConfig:
    """256 px, with a mask decoder that sees the finer features."""
    return SamConfig(ToyConfig(), high_res_features=True)
