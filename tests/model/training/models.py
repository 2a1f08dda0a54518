"""A model that learns from discs in seconds."""

import torch

from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.sam import Sam
from model.training.initialise import point_cross_attention


def disc_model() -> Sam:
    torch.manual_seed(0)
    encoder = EfficientNetConfig(width=0.25, depth=0.3, img_size=64)
    sam = Sam(SamConfig(encoder, decoder_mlp_dim=64, high_res_features=True))
    point_cross_attention(sam, seed=0)
    return sam
