"""Where training starts from: a decoder that is made deeper or shallower."""

import pytest
import torch

from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig, ViTConfig
from model.sam import build_sam
from model.training.initialise import new_model, point_cross_attention, take_decoder, with_decoder_depth
from model.transformer import Attention
from schemas.errors import InputError
from tests.stages.workspaces import TINY


def test_new_decoder_layers_start_as_copies_of_the_last() -> None:
    torch.manual_seed(0)
    sam = build_sam(TINY)
    deeper = with_decoder_depth(sam, 4)
    assert deeper.config.decoder_depth == len(deeper.mask_decoder.transformer.layers) == 4
    before, after = sam.state_dict(), deeper.state_dict()
    for name, value in after.items():
        old = name.replace("layers.2.", "layers.1.").replace("layers.3.", "layers.1.")
        torch.testing.assert_close(value, before[old if "transformer.layers" in name else name], rtol=0, atol=0)
    shallower = with_decoder_depth(deeper, 2)
    assert all(torch.equal(value, before[name]) for name, value in shallower.state_dict().items())


def test_a_decoder_of_the_right_depth_is_left_alone() -> None:
    sam = build_sam(TINY)
    assert with_decoder_depth(sam, None) is sam
    assert with_decoder_depth(sam, 2) is sam


def test_cross_attention_starts_where_positions_are_alike_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    sam = build_sam(TINY)
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    point_cross_attention(sam, seed=3)
    transformer = sam.mask_decoder.transformer
    cross = [
        name for name, module in transformer.named_modules() if isinstance(module, Attention) and "self" not in name
    ]
    assert len(cross) == 2 * len(transformer.layers) + 1
    changed = {f"mask_decoder.transformer.{name}.{part}" for name in cross for part in ("q_proj", "k_proj")}
    for name, value in sam.state_dict().items():
        assert torch.equal(value, before[name]) == (name.rpartition(".")[0] not in changed), name
    for name in cross:
        attention = transformer.get_submodule(name)
        assert torch.equal(attention.q_proj.weight, attention.k_proj.weight)
        assert not attention.q_proj.bias.any()
        assert not attention.k_proj.bias.any()
        product = attention.q_proj.weight @ attention.q_proj.weight.T
        torch.testing.assert_close(product / product[0, 0], torch.eye(len(product)), atol=1e-4, rtol=0)


def test_the_seed_says_where_a_new_model_starts() -> None:
    encoder = ViTConfig(embed_dim=32, depth=1, num_heads=2, global_attn_indexes=(0,), img_size=64, window_size=2)
    config = SamConfig(encoder, decoder_mlp_dim=64)
    first, again, other = (new_model(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    name = "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
    assert not torch.equal(first[name], other[name])


def test_attention_starts_sharp() -> None:
    """An orthogonal matrix, twice as long: similar positions give four times the product that they have."""
    sam = build_sam(TINY)
    point_cross_attention(sam, seed=0)
    query = sam.mask_decoder.transformer.layers[1].cross_attn_image_to_token.q_proj.weight
    torch.testing.assert_close(query @ query.T, 4 * torch.eye(len(query)), atol=1e-4, rtol=0)


def test_the_seed_of_attention_is_its_own() -> None:
    first, again, other = build_sam(TINY), build_sam(TINY), build_sam(TINY)
    for sam, seed in ((first, 1), (again, 1), (other, 2)):
        torch.manual_seed(torch.seed())
        point_cross_attention(sam, seed=seed)
    weights = [sam.mask_decoder.transformer.final_attn_token_to_image.k_proj.weight for sam in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_decoder_of_another_depth_is_where_the_first_one_was() -> None:
    sam = build_sam(TINY)
    other = with_decoder_depth(sam, 1)
    assert (other.config.decoder_depth, sam.config.decoder_depth) == (1, 2)
    assert other.device == sam.device
    assert len(sam.mask_decoder.transformer.layers) == 2


def test_a_decoder_is_taken_but_for_what_reads_the_encoder_beside_it() -> None:
    """Also where the encoders are alike, so that start models of several sizes begin alike."""
    sizes = [EfficientNetConfig(width=width, depth=0.3, img_size=64) for width in (0.25, 0.5)]
    theirs = build_sam(SamConfig(sizes[1], decoder_mlp_dim=32, high_res_features=True))
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    for encoder in sizes:
        sam = build_sam(SamConfig(encoder, decoder_mlp_dim=32, high_res_features=True))
        before = {name: value.clone() for name, value in sam.state_dict().items()}
        take_decoder(sam, theirs)
        for name, value in sam.state_dict().items():
            own = name.startswith(("image_encoder.", "mask_decoder.conv_s0.", "mask_decoder.conv_s1."))
            assert torch.equal(value, before[name] if own else theirs.state_dict()[name]), name
        assert "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix" in before


def test_a_decoder_of_another_form_is_refused_and_nothing_taken() -> None:
    sam = build_sam(TINY)
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    other = build_sam(SamConfig(TINY.encoder, decoder_mlp_dim=2 * TINY.decoder_mlp_dim))
    with pytest.raises(InputError, match=r"another form cannot be taken: mask_decoder.*mlp.* differs; choose"):
        take_decoder(sam, other)
    assert all(torch.equal(value, before[name]) for name, value in sam.state_dict().items())
