"""The ViT encoder's parts against definitions worked out by hand; the whole is compared in test_published_weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.encoder_configs import VIT_B, VIT_H, VIT_L, ViTConfig
from model.image_encoder import (
    Attention,
    DropPath,
    ImageEncoderViT,
    by_distance,
    growing_rates,
    join_windows,
    split_windows,
)
from tests.peers.published import draw_weights

TINY = ViTConfig(embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), img_size=64, window_size=3, out_chans=8)


@pytest.fixture
def encoder() -> ImageEncoderViT:
    encoder = ImageEncoderViT(TINY)
    draw_weights(encoder, seed=0)
    return encoder.eval()


def test_one_embedding_pixel_for_each_patch(encoder: ImageEncoderViT) -> None:
    assert encoder(torch.zeros(3, 3, 64, 64)).features.shape == (3, 8, 4, 4)


def test_images_of_a_batch_do_not_see_each_other(encoder: ImageEncoderViT) -> None:
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together = encoder(images).features
    for image, embedding in zip(images, together, strict=True):
        torch.testing.assert_close(encoder(image[None]).features[0], embedding)


@pytest.mark.parametrize("shape", [(1, 3, 64, 32), (1, 3, 32, 32), (3, 64, 64), (1, 1, 64, 64)])
def test_another_input_size_is_an_error(encoder: ImageEncoderViT, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(batch, 3, 64, 64\), found"):
        encoder(torch.zeros(shape))


def test_windowed_blocks_see_their_window_and_global_blocks_the_grid(encoder: ImageEncoderViT) -> None:
    tokens = torch.randn(1, 4, 4, 16, generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[0, 0, 0] = torch.linspace(-3, 3, 16)  # a shift of all channels alike would be normalised away
    windowed, whole = encoder.blocks
    reached = (windowed(tokens) - windowed(changed)).abs().sum(dim=-1)[0] > 1e-6
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[:3, :3] = True
    assert torch.equal(reached, expected)
    assert ((whole(tokens) - whole(changed)).abs().sum(dim=-1) > 1e-6).all()


def test_attention_with_relative_positions_as_defined() -> None:
    """score(q, k) = q.k / sqrt(D) + q.vertical[yq - yk] + q.horizontal[xq - xk], spelt out token by token."""
    attention = Attention(6, 2, side=3)
    draw_weights(attention, seed=1)
    tokens = torch.randn(1, 3, 3, 6, generator=torch.Generator().manual_seed(2))
    qkv = attention.qkv(tokens).reshape(9, 3, 2, 3)
    query, key, value = qkv[:, 0], qkv[:, 1], qkv[:, 2]  # each (9 tokens, 2 heads, 3)
    mixed = torch.zeros(9, 2, 3)
    for head in range(2):
        for q in range(9):
            scores = [
                query[q, head] @ key[k, head] / 3**0.5
                + query[q, head] @ attention.rel_pos_h[q // 3 - k // 3 + 2]
                + query[q, head] @ attention.rel_pos_w[q % 3 - k % 3 + 2]
                for k in range(9)
            ]
            mixed[q, head] = torch.stack(scores).softmax(dim=0) @ value[:, head]
    expected = attention.proj(mixed.reshape(1, 3, 3, 6))
    torch.testing.assert_close(attention(tokens), expected)


def test_relative_position_of_query_and_key() -> None:
    table = torch.tensor([[-2.0], [-1.0], [0.0], [1.0], [2.0]])
    expected = torch.tensor([[0.0, -1.0, -2.0], [1.0, 0.0, -1.0], [2.0, 1.0, 0.0]])
    assert torch.equal(by_distance(table, 3)[..., 0], expected)


def test_windows_go_row_by_row_and_zeros_fill_them_up() -> None:
    tokens = torch.arange(1.0, 7.0).reshape(1, 2, 3, 1)
    windows = split_windows(tokens, 2)
    assert windows[..., 0].tolist() == [[[1, 2], [4, 5]], [[3, 0], [6, 0]]]


@settings(max_examples=50, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    size=st.integers(1, 6),
    seed=st.integers(0),
)
def test_joining_windows_undoes_splitting(batch: int, height: int, width: int, size: int, seed: int) -> None:
    tokens = torch.randn(batch, height, width, 2, generator=torch.Generator().manual_seed(seed % 2**32))
    assert torch.equal(join_windows(split_windows(tokens, size), grid_hw=(height, width)), tokens)


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop_path = DropPath(0.25).train()
    dropped = drop_path(torch.ones(20_000, 2, 1))
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)


def test_drop_path_does_nothing_in_inference() -> None:
    branch = torch.randn(8, 2)
    assert torch.equal(DropPath(0.9).eval()(branch), branch)


def test_drop_path_rates_grow_with_depth() -> None:
    assert growing_rates(0.4, 5) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert growing_rates(0.4, 1) == [0.0]
    encoder = ImageEncoderViT(ViTConfig(8, 3, 2, (), img_size=32, window_size=2, drop_path_rate=0.2))
    assert [block.drop_path.rate for block in encoder.blocks] == pytest.approx([0.0, 0.1, 0.2])


def test_drop_path_changes_training_and_not_inference() -> None:
    torch.manual_seed(0)
    config = ViTConfig(8, 3, 2, (), img_size=32, window_size=2, out_chans=4, drop_path_rate=0.9)
    dropping, plain = ImageEncoderViT(config), ImageEncoderViT(ViTConfig(8, 3, 2, (), 32, window_size=2, out_chans=4))
    draw_weights(dropping, seed=0)
    plain.load_state_dict(dropping.state_dict())
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(dropping.eval()(images).features, plain.eval()(images).features)
    assert not torch.equal(dropping.train()(images).features, plain.train()(images).features)


def test_every_weight_learns(encoder: ImageEncoderViT) -> None:
    encoder(torch.randn(1, 3, 64, 64)).features.square().mean().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embed_dim": 15}, "embed_dim 15 is no multiple of num_heads 2"),
        ({"img_size": 60}, "img_size 60 is no multiple of patch_size 16"),
        ({"drop_path_rate": 1.0}, "drop_path_rate 1.0"),
    ],
)
def test_sizes_that_do_not_fit(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViTConfig(**{"embed_dim": 16, "depth": 2, "num_heads": 2, "global_attn_indexes": (1,)} | values)


def test_a_list_from_json_makes_the_same_configuration() -> None:
    from_json = ViTConfig(768, 12, 12, [2, 5, 8, 11])  # type: ignore[arg-type]
    assert from_json == VIT_B
    assert hash(from_json) == hash(VIT_B)


@pytest.mark.parametrize(("config", "millions"), [(VIT_B, 89.67), (VIT_L, 308.28), (VIT_H, 637.03)])
def test_published_sizes(config: ViTConfig, millions: float) -> None:
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in ImageEncoderViT(config).parameters())
    assert weights / 1e6 == pytest.approx(millions, abs=0.01)
