"""TinyViT's parts against definitions worked out by hand; the whole is compared in test_published_weights."""

import pytest
import torch

from model.encoder_configs import VIT_T, TinyViTConfig
from model.tiny_vit import ConvNorm, PatchMerging, TinyViT, TinyViTBlock, WindowAttention
from tests.peers.published import draw_weights

TINY = TinyViTConfig(
    img_size=64, embed_dims=(8, 8, 16, 24), depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), out_chans=6, num_classes=3
)


@pytest.fixture
def encoder() -> TinyViT:
    encoder = TinyViT(TINY)
    draw_weights(encoder, seed=0)
    return encoder.eval()


def test_one_embedding_pixel_for_16_input_pixels(encoder: TinyViT) -> None:
    assert encoder(torch.zeros(2, 3, 64, 64)).features.shape == (2, 6, 4, 4)


def test_strides_of_the_stages(encoder: TinyViT) -> None:
    features = encoder.patch_embed(torch.zeros(1, 3, 64, 64))
    sides = [features.shape[-1]]
    for layer in encoder.layers:
        features = layer(features)
        sides.append(features.shape[-1])
    assert sides == [16, 8, 4, 4, 4]


def test_images_of_a_batch_do_not_see_each_other(encoder: TinyViT) -> None:
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for image, embedding in zip(images, encoder(images).features, strict=True):
        torch.testing.assert_close(encoder(image[None]).features[0], embedding)


def test_another_input_size_is_an_error(encoder: TinyViT) -> None:
    with pytest.raises(ValueError, match=r"expected \(batch, 3, 64, 64\), found \(1, 3, 48, 64\)"):
        encoder(torch.zeros(1, 3, 48, 64))


def test_attention_with_a_bias_for_each_distance_as_defined() -> None:
    """score(q, k) = q.k / sqrt(D) + bias[|dy|, |dx|], spelt out token by token."""
    attention = WindowAttention(4, 2, side=2)
    draw_weights(attention, seed=1)
    window = torch.randn(1, 2, 2, 4, generator=torch.Generator().manual_seed(2))
    # Each head owns 6 channels in a row: 2 of the query, 2 of the key, 2 of the value.
    heads = attention.qkv(attention.norm(window)).reshape(4, 2, 6)
    mixed = torch.zeros(4, 2, 2)
    for head in range(2):
        query, key, value = heads[:, head].split(2, dim=-1)
        for q in range(4):
            scores = [
                query[q] @ key[k] / 2**0.5
                + attention.attention_biases[head, 2 * abs(q // 2 - k // 2) + abs(q % 2 - k % 2)]
                for k in range(4)
            ]
            mixed[q, head] = torch.stack(scores).softmax(dim=0) @ value
    torch.testing.assert_close(attention(window), attention.proj(mixed.reshape(1, 2, 2, 4)))


def test_index_of_the_bias_for_each_pair_of_positions() -> None:
    index = WindowAttention(4, 2, side=3).attention_bias_idxs
    assert index[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert index[4].tolist() == [4, 3, 4, 1, 0, 1, 4, 3, 4]
    assert torch.equal(index, index.T)


def test_a_block_mixes_windows_only_through_its_local_convolution() -> None:
    block = TinyViTBlock(4, 2, window_size=3, grid_size=7, mlp_ratio=2.0, drop_path_rate=0.0).eval()
    draw_weights(block, seed=0)
    features = torch.randn(1, 4, 7, 7, generator=torch.Generator().manual_seed(1))
    changed = features.clone()
    changed[0, :, 0, 0] = torch.tensor([-3.0, 2.0, 1.0, 5.0])
    reached = (block(features) - block(changed)).abs().sum(dim=1)[0] > 1e-6
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[:4, :4] = True  # its window of 3 and one pixel beyond
    assert torch.equal(reached, expected)


def test_convolution_and_norm_are_named_as_published() -> None:
    assert list(ConvNorm(2, 2, 1).state_dict()) == [
        "c.weight",
        "bn.weight",
        "bn.bias",
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
    ]


@pytest.mark.parametrize(("stride", "side"), [(1, 8), (2, 4)])
def test_merging_halves_the_grid_or_keeps_it(stride: int, side: int) -> None:
    assert PatchMerging(4, 6, stride=stride).eval()(torch.zeros(1, 4, 8, 8)).shape == (1, 6, side, side)


def test_every_weight_but_the_classifiers_learns(encoder: TinyViT) -> None:
    encoder(torch.randn(1, 3, 64, 64)).features.square().mean().backward()
    idle = {name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert idle == {"norm_head.weight", "norm_head.bias", "head.weight", "head.bias"}


def test_drop_path_rates_grow_over_all_stages() -> None:
    config = TinyViTConfig(img_size=32, depths=(1, 1, 2, 1), drop_path_rate=0.4)
    rates = [block.drop_path.rate for layer in TinyViT(config).layers for block in layer.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depths": (2, 2, 6)}, "depths: expected one number for each of 4 stages"),
        ({"img_size": 1000}, "img_size 1000 is no multiple of 16"),
        ({"num_heads": (2, 4, 7, 10)}, "no multiples of num_heads"),
        ({"drop_path_rate": -0.1}, "drop_path_rate -0.1"),
    ],
)
def test_sizes_that_do_not_fit(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TinyViTConfig(**values)  # type: ignore[arg-type]


def test_a_list_from_json_makes_the_same_configuration() -> None:
    from_json = TinyViTConfig(depths=[2, 2, 6, 2])  # type: ignore[arg-type]
    assert from_json == VIT_T
    assert hash(from_json) == hash(VIT_T)
