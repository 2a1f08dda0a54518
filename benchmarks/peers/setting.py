"""What every contender gets: the same weights, pictures, grid, thresholds and number of threads.

Sizes are (height, width) in pixels; the model's input is a square of `image_size` px.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType

import numpy as np
import numpy.typing as npt
import skimage.data
import torch
from PIL import Image

from model.config import MODEL_SIZES, SamConfig
from model.encoder_configs import ViTConfig
from model.published import resized_hw
from schemas.presets import GeneratorConfig

OURS = "sam-data-engine"
OURS_FAST = "sam-data-engine fast"
SEGMENT_ANYTHING = "segment-anything"
MOBILE_SAM = "mobilesam-mirror"
TRANSFORMERS = "transformers"
NANO = "nano"

Hw = tuple[int, int]
LowRes = tuple[EllipsisType, slice, slice]
SMALL = SamConfig(ViTConfig(64, 4, 4, global_attn_indexes=(1, 3), img_size=256, window_size=5))
MODELS: dict[str, Callable[[], SamConfig]] = {
    **{name: make for name, make in MODEL_SIZES.items() if name != "nano"},
    "small": lambda: SMALL,  # for the tests of this benchmark: its times mean nothing
}


@dataclass(frozen=True)
class Setting:
    """folder: where the parent puts weights and decoder outputs. trained: the weights are no random ones."""

    folder: Path
    model: str
    trained: bool
    generator: GeneratorConfig
    threads: int

    @property
    def model_config(self) -> SamConfig:
        return MODELS[self.model]()

    @property
    def image_size(self) -> int:
        return self.model_config.encoder.img_size

    @property
    def low_res(self) -> int:
        """Side of the decoder's logits."""
        return self.image_size // 4

    @property
    def weights_file(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def embedding_file(self) -> Path:
        """The image embedding (1, C, H, W) of the decoder contest, the same for all contenders."""
        return self.folder / "embedding.npy"

    def input_hw(self, hw: Hw) -> Hw:
        """A picture's size in the model's input, before padding."""
        return resized_hw(hw, longest_side=self.image_size)

    def shown(self, hw: Hw) -> LowRes:
        """What of low-resolution logits (..., h, w) shows the picture; we make none for padding."""
        return shown_logits(self.input_hw(hw))

    def input_points(self, hw: Hw) -> torch.Tensor:
        """The grid (N, 2) as (x, y), float64 pixels of the model's input."""
        height, width = self.input_hw(hw)
        return grid(self.generator.points_per_side) * torch.tensor([width, height], dtype=torch.float64)


def shown_logits(input_hw: Hw) -> LowRes:
    """Index into low-resolution logits (..., h, w): the part that shows a picture of this size in the model's input."""
    height, width = input_hw
    return ..., slice(-(-height // 4)), slice(-(-width // 4))


def grid(points_per_side: int) -> torch.Tensor:
    """(N, 2) float64 as (x, y) in [0, 1], row by row."""
    line = (torch.arange(points_per_side, dtype=torch.float64) + 0.5) / points_per_side
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def picture(hw: Hw) -> npt.NDArray[np.uint8]:
    """The cup of coffee of scikit-image (400 x 600 px), scaled to cover the size and cropped to it."""
    photograph = Image.fromarray(skimage.data.coffee())
    height, width = hw
    scale = max(height / photograph.height, width / photograph.width)
    covering = (max(width, round(photograph.width * scale)), max(height, round(photograph.height * scale)))
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    scaled = photograph.resize(covering, Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.array(scaled)[top : top + height, left : left + width])
