"""A model that notes what it is asked, and a small real one."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.config import SamConfig
from model.encoder_configs import ViTConfig
from model.mask_decoder import MaskPrediction
from model.sam import Sam, build_sam
from tests.peers.published import draw_weights


class NotingModel:
    """Keeps what it was given; answers with logits that rise from left to right."""

    image_size = 64
    mask_threshold = 0.0
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.encoded: list[Tensor] = []
        self.decoded: list[dict[str, Any]] = []

    def preprocess(self, images: Tensor) -> Tensor:
        return images

    def encode(self, pixels: Tensor) -> int:
        self.encoded.append(pixels)
        return len(self.encoded)

    def decode(self, embedding: int, **prompts: Any) -> MaskPrediction:
        self.decoded.append({"embedding": embedding} | prompts)
        given = prompts["points"][0] if prompts["points"] is not None else prompts["boxes"]
        count, masks = len(given if given is not None else prompts["masks"]), 3 if prompts["multimask_output"] else 1
        ramp = torch.linspace(-1, 1, 16).expand(count, masks, 16, 16)
        return MaskPrediction(ramp, torch.full((count, masks), 0.5))


def small_sam() -> Sam:
    """Of a small image encoder (64 pixels), with weights that are drawn."""
    config = ViTConfig(embed_dim=16, depth=1, num_heads=2, global_attn_indexes=(0,), img_size=64, window_size=2)
    sam = build_sam(SamConfig(config, decoder_depth=1, decoder_mlp_dim=32))
    draw_weights(sam, seed=0)
    return sam


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
