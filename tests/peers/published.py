"""The published models with random weights: `segment-anything`, `mobilesam-mirror`, `segment-anything-hq`, `sam2`.

No trained weights can be had offline, so these are drawn from a seed, and scaled so that every layer passes a signal
on: embeddings of standard deviation 1, logits of both signs, relative positions that matter.
"""

import importlib
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from model.config import SamConfig
from model.encoder_configs import HieraConfig, TinyViTConfig, ViTConfig
from model.sam import Sam, build_sam
from model.wrapped_weights import unwrapped
from tests.peers.sam2_standin import install_sam2_standin
from tests.peers.timm_standin import install_timm_standin
from tests.peers.torchvision_standin import install_torchvision_standin

_NORMS = (
    *("norm", ".bn.", "neck.1", "neck.3", "mask_downscaling.1", "mask_downscaling.4", "output_upscaling.1"),
    *("compress_vit_feat.1", "embedding_encoder.1", "embedding_maskfeature.1"),
)
_UNNORMED = "neck.convs."  # no norm follows: their share is small, or embeddings were five times as large
_TABLES = ("pos_embed", "rel_pos", "attention_biases", "_embed", "tokens", "token.")


def published_sam(config: SamConfig, *, seed: int = 0) -> Any:
    """The peer's model of this architecture, random weights, ready for inference."""
    install_torchvision_standin()
    install_timm_standin()
    install_sam2_standin()
    torch.manual_seed(seed)
    peer = _sam2(config) if config.decoder == "sam2" else _assemble(_modeling(config), config)
    draw_weights(peer, seed=seed)
    return peer.eval()


def ours_and_published(config: SamConfig, *, seed: int = 0) -> tuple[Sam, Any]:
    """Our model and the peer's with the same weights, which ours has loaded strictly."""
    peer = published_sam(config, seed=seed)
    ours = build_sam(config)
    ours.load_state_dict(unwrapped(peer.state_dict()), strict=True)
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
            mean, std = 0.0, (0.25 if _UNNORMED in name else 1.2) / math.sqrt(weight[0].numel())
        nn.init.normal_(weight, mean, std, generator=generator)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, 0.0, 0.2, generator=generator)
        elif name.endswith("gaussian_matrix"):
            nn.init.normal_(buffer, generator=generator)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5, generator=generator)


def _modeling(config: SamConfig) -> Any:
    """The peer's modules."""
    package = "segment_anything" if isinstance(config.encoder, ViTConfig) else "mobile_sam"
    return importlib.import_module(f"{'segment_anything_hq' if config.decoder == 'sam_hq' else package}.modeling")


def _assemble(modeling: Any, config: SamConfig) -> nn.Module:
    size, grid = config.encoder.img_size, config.encoder.img_size // 16
    decoder = modeling.MaskDecoder
    if config.decoder == "sam_hq":
        early_chans = build_sam(config).image_encoder.early_chans
        decoder = partial(modeling.MaskDecoderHQ, vit_dim=early_chans)
    assembled: nn.Module = modeling.Sam(
        image_encoder=_vit(modeling, config.encoder)
        if isinstance(config.encoder, ViTConfig)
        else _tiny_vit(modeling, config.encoder),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=256, image_embedding_size=(grid, grid), input_image_size=(size, size), mask_in_chans=16
        ),
        mask_decoder=decoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        ),
    )
    return assembled


def _vit(modeling: Any, encoder: ViTConfig) -> Any:
    return modeling.ImageEncoderViT(
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
    )


def _tiny_vit(modeling: Any, encoder: TinyViTConfig) -> Any:
    return modeling.TinyViT(
        img_size=encoder.img_size,
        num_classes=encoder.num_classes,
        embed_dims=list(encoder.embed_dims),
        depths=list(encoder.depths),
        num_heads=list(encoder.num_heads),
        window_sizes=list(encoder.window_sizes),
        mlp_ratio=encoder.mlp_ratio,
        drop_path_rate=0.0,
        layer_lr_decay=0.8,
    )


def _sam2(config: SamConfig) -> nn.Module:
    """As `build_sam2` of the package makes it from its own configuration, with another trunk and input."""
    encoder = config.encoder
    assert isinstance(encoder, HieraConfig)
    package = Path(importlib.import_module("sam2").__path__[0])
    settings = yaml.safe_load((package / "configs" / "sam2.1" / "sam2.1_hiera_t.yaml").read_text())["model"]
    settings["image_size"] = encoder.img_size
    settings["image_encoder"]["trunk"] |= {
        "embed_dim": encoder.embed_dim,
        "num_heads": encoder.num_heads,
        "stages": encoder.depths,
        "global_att_blocks": encoder.global_attn_indexes,
        "window_spec": encoder.window_sizes,
        "window_pos_embed_bkg_spatial_size": (encoder.pos_embed_side, encoder.pos_embed_side),
    }
    settings["image_encoder"]["neck"]["backbone_channel_list"] = list(reversed(encoder.stage_dims))
    settings["sam_mask_decoder_extra_args"] = {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    }
    made: nn.Module = _made(settings)
    return made


def _made(settings: Any) -> Any:
    """What a configuration of hydra's describes: each `_target_` called with what stands beside it."""
    if not isinstance(settings, dict):
        return float(settings) if settings == "1e-6" else settings
    values = {key: _made(value) for key, value in settings.items() if key != "_target_"}
    if "_target_" not in settings:
        return values
    module, _, name = settings["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**values)
