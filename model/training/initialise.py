"""Starting weights that let a decoder find its prompt from the first step."""

import re
from dataclasses import replace

import torch
from torch import nn

from model.config import SamConfig
from model.sam import Sam, build_sam
from model.transformer import Attention
from schemas.errors import InputError

_PEAK = 2.0
_READS_ENCODER = re.compile(r"mask_decoder\.(conv_s0|conv_s1|compress_vit_feat)\.")
_LAYER = re.compile(r"(mask_decoder\.transformer\.layers\.)(\d+)\.")


def new_model(config: SamConfig, *, seed: int) -> Sam:
    """A model to train from the start: random weights, the encoder's pretrained ones, a decoder that looks.

    Raises InputError where the package that carries the pretrained weights is not installed.
    """
    torch.manual_seed(seed)
    sam = build_sam(config)
    sam.image_encoder.load_pretrained()
    point_cross_attention(sam, seed=seed)
    return sam


def take_decoder(sam: Sam, other: Sam) -> None:
    """Give `sam` the prompt encoder and the mask decoder of another model, under an image encoder of its own.

    What reads the image encoder's own channels stays as it is: it means nothing to another encoder.
    Raises InputError where the two decoders differ.
    """
    theirs, own = other.state_dict(), sam.state_dict()
    taken = [name for name in own if not name.startswith("image_encoder.") and not _READS_ENCODER.match(name)]
    odd = [name for name in taken if name not in theirs or theirs[name].shape != own[name].shape]
    if odd:
        raise InputError(f"the decoder of a model of another form cannot be taken: {odd[0]} differs; choose another")
    sam.load_state_dict({name: theirs[name] for name in taken}, strict=False)


def point_cross_attention(sam: Sam, *, seed: int) -> None:
    """Let every cross-attention of the mask decoder start by looking where the prompt is.

    A decoder knows where a prompt is only by the similarity of positional encodings, which random query and key
    projections destroy: from random weights it takes thousands of steps to find the point. With one and the same
    orthogonal matrix as query and key projection, similar positions attend to each other from the first step.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in sam.mask_decoder.transformer.named_modules():
        if isinstance(module, Attention) and "self_attn" not in name:
            shared = torch.empty_like(module.q_proj.weight)
            nn.init.orthogonal_(shared, gain=_PEAK, generator=generator)
            with torch.no_grad():
                for projection in (module.q_proj, module.k_proj):
                    projection.weight.copy_(shared)
                    projection.bias.zero_()


def with_decoder_depth(sam: Sam, depth: int | None) -> Sam:
    """`sam` with that many layers in its mask decoder; itself where it has them, or where depth is None.

    New layers start as copies of the last one there is (SAM paper, appendix B, gives the mask generator's model three).
    """
    old = sam.config.decoder_depth
    if depth is None or depth == old:
        return sam
    other = build_sam(replace(sam.config, decoder_depth=depth)).to(sam.device)
    there = sam.state_dict()
    other.load_state_dict({name: there[_in_layer(name, last=old - 1)] for name in other.state_dict()})
    return other


def _in_layer(name: str, *, last: int) -> str:
    """The same parameter in layer `last` of the decoder, where `name` lies in a layer behind it."""
    return _LAYER.sub(lambda found: f"{found[1]}{min(int(found[2]), last)}.", name)
