"""The published models, built from the packages `segment-anything` and `mobilesam-mirror`, with random weights.

No trained weights can be had offline, so these are drawn from a seed, and scaled so that every layer passes a signal
on: embeddings of standard deviation 1, logits of both signs, relative positions that matter.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import nn

from model.config import SamConfig
from model.encoder_configs import TinyViTConfig, ViTConfig
from model.sam import Sam, build_sam
from tests.peers.timm_standin import install_timm_standin
from tests.peers.torchvision_standin import install_torchvision_standin

_NORMS = ("norm", ".bn.", "neck.1", "neck.3", "mask_downscaling.1", "mask_downscaling.4", "output_upscaling.1")
_TABLES = ("pos_embed", "rel_pos", "attention_biases", "_embed", "tokens", "token.")


def published_sam(config: SamConfig, *, seed: int = 0) -> Any:
    """The peer's model of this architecture, random weights, ready for inference."""
    install_torchvision_standin()
    install_timm_standin()
    torch.manual_seed(seed)
    peer = _vit_sam(config.encoder) if isinstance(config.encoder, ViTConfig) else _tiny_vit_sam(config.encoder)
    draw_weights(peer, seed=seed)
    return peer.eval()


def ours_and_published(config: SamConfig, *, seed: int = 0) -> tuple[Sam, Any]:
    """Our model and the peer's with the same weights, which ours has loaded strictly."""
    peer = published_sam(config, seed=seed)
    ours = build_sam(config)
    ours.load_state_dict(peer.state_dict(), strict=True)
    return ours, peer


def draw_weights(module: nn.Module, *, seed: int) -> None:
    """Random weights under which activations neither die nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if any(part in name for part in _NORMS):
            mean, std = (1.0 if name.endswith("weight") else 0.0), 0.2
        elif weight.ndim < 2 or any(part in name for part in _TABLES):
            mean, std = 0.0, 0.2
        else:
            mean, std = 0.0, 1.2 / math.sqrt(weight[0].numel())
        nn.init.normal_(weight, mean, std, generator=generator)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, 0.0, 0.2, generator=generator)
        elif name.endswith("gaussian_matrix"):
            nn.init.normal_(buffer, generator=generator)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5, generator=generator)


def _vit_sam(encoder: ViTConfig) -> nn.Module:
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    return _assemble(
        Sam,
        PromptEncoder,
        MaskDecoder,
        TwoWayTransformer,
        ImageEncoderViT(
            img_size=encoder.img_size,
            patch_size=encoder.patch_size,
            embed_dim=encoder.embed_dim,
            depth=encoder.depth,
            num_heads=encoder.num_heads,
            mlp_ratio=encoder.mlp_ratio,
            out_chans=encoder.out_chans,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=encoder.window_size,
            global_attn_indexes=encoder.global_attn_indexes,
        ),
    )


def _tiny_vit_sam(encoder: TinyViTConfig) -> nn.Module:
    from mobile_sam.modeling import MaskDecoder, PromptEncoder, Sam, TinyViT, TwoWayTransformer

    return _assemble(
        Sam,
        PromptEncoder,
        MaskDecoder,
        TwoWayTransformer,
        TinyViT(
            img_size=encoder.img_size,
            num_classes=encoder.num_classes,
            embed_dims=list(encoder.embed_dims),
            depths=list(encoder.depths),
            num_heads=list(encoder.num_heads),
            window_sizes=list(encoder.window_sizes),
            mlp_ratio=encoder.mlp_ratio,
            drop_path_rate=0.0,
            layer_lr_decay=0.8,
        ),
    )


def _assemble(sam: Any, prompt_encoder: Any, mask_decoder: Any, transformer: Any, image_encoder: Any) -> nn.Module:
    size, grid = image_encoder.img_size, image_encoder.img_size // 16
    assembled: nn.Module = sam(
        image_encoder=image_encoder,
        prompt_encoder=prompt_encoder(
            embed_dim=256, image_embedding_size=(grid, grid), input_image_size=(size, size), mask_in_chans=16
        ),
        mask_decoder=mask_decoder(
            num_multimask_outputs=3,
            transformer=transformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        ),
    )
    return assembled
