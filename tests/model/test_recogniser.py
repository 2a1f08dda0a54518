"""The line between pictures of known and of new kinds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import SamConfig, nano
from model.encoder_configs import EfficientNetConfig, ViTConfig
from model.recogniser import Recogniser, count_recognised, describe, fit_recogniser, innermost
from model.remembering import remembering
from model.sam import Sam, build_sam

CHANNELS = 256
SMALL = EfficientNetConfig(width=0.25, depth=0.3, img_size=128)


def descriptions(count: int, *, at: float, seed: int, spread: float = 1.0) -> torch.Tensor:
    """Normal numbers around `at` in the first channel and around 0 in the others."""
    drawn = torch.randn(count, CHANNELS, generator=torch.Generator().manual_seed(seed)) * spread
    drawn[:, 0] += at
    return drawn


@pytest.fixture
def sam() -> Sam:
    torch.manual_seed(0)
    return build_sam(SamConfig(SMALL, high_res_features=True))


def test_one_channel_that_differs_is_found_among_many() -> None:
    recogniser = fit_recogniser(descriptions(400, at=0, seed=0), descriptions(30, at=12, seed=1))
    assert bool(recogniser(descriptions(200, at=12, seed=2)).all())
    assert not bool(recogniser(descriptions(200, at=0, seed=3)).any())


def test_the_line_runs_half_way_between_the_means() -> None:
    """Worked out by hand: two means at 0 and at 8 of one channel that varies, all other channels at 0."""
    known = torch.zeros(2, CHANNELS)
    known[:, 0] = torch.tensor([-1.0, 1.0])
    new = torch.zeros(2, CHANNELS)
    new[:, 0] = torch.tensor([7.0, 9.0])
    recogniser = fit_recogniser(known, new)
    between = torch.zeros(2, CHANNELS)
    between[:, 0] = torch.tensor([3.99, 4.01])
    assert recogniser(between).tolist() == [False, True]
    assert recogniser.weight[1:].abs().max() == pytest.approx(0)


def test_known_pictures_are_hardly_ever_taken_for_new_ones() -> None:
    known = descriptions(500, at=0, seed=0)
    recogniser = fit_recogniser(known, descriptions(500, at=1, seed=1))
    assert 0 < int(recogniser(known).sum()) <= 10


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_the_units_of_a_channel_do_not_matter(seed: int, scale: float, shift: float) -> None:
    known, new, asked = (descriptions(40, at=at, seed=seed + n) for n, at in enumerate((0.0, 3.0, 1.5)))
    units = torch.ones(CHANNELS)
    units[::2] = scale
    decided = fit_recogniser(known, new)(asked)
    moved = fit_recogniser(known * units + shift, new * units + shift)
    margin = (asked * units + shift) @ moved.weight + moved.bias
    clear = margin.abs() > 1e-2 * margin.abs().max()
    assert torch.equal((margin > 0)[clear], decided[clear])


def test_a_kind_of_its_own_is_told_by_lines_that_were_drawn_without_it() -> None:
    known = descriptions(300, at=0, seed=0)
    assert count_recognised(known, descriptions(21, at=12, seed=1)) == 21
    assert count_recognised(known, descriptions(60, at=0, seed=2)) < 20, "of the same kind"
    assert count_recognised(known, descriptions(1, at=12, seed=3)) == 0


@pytest.mark.parametrize(("known", "new"), [(0, 3), (3, 0)])
def test_both_kinds_are_needed(known: int, new: int) -> None:
    with pytest.raises(ValueError, match=rf"found {known} known and {new} new ones"):
        fit_recogniser(torch.zeros(known, CHANNELS), torch.zeros(new, CHANNELS))


def test_a_new_one_knows_everything() -> None:
    assert not bool(Recogniser()(torch.randn(5, CHANNELS)).any())


def picture(height: int, width: int, *, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (1, 3, height, width), dtype=np.uint8))


def test_padding_does_not_describe_a_picture(sam: Sam) -> None:
    shown = picture(128, 64, seed=0)
    pixels = sam.preprocess(shown)
    assert pixels.shape == (1, 3, 128, 128)
    normalised = pixels[..., :64]
    half = torch.nn.functional.avg_pool2d(normalised, 2)
    with torch.no_grad():
        expected = sam.image_encoder(half).features.mean((-2, -1))
    torch.testing.assert_close(describe(sam, pixels), expected)


def test_pictures_are_described_one_by_one(sam: Sam) -> None:
    pixels = torch.cat([sam.preprocess(picture(128, 64, seed=0)), sam.preprocess(picture(96, 128, seed=1))])
    together = describe(sam, pixels)
    assert together.shape == (2, CHANNELS)
    assert torch.equal(together, torch.cat([describe(sam, each) for each in pixels.split(1)]))


def test_half_precision_describes_alike(sam: Sam) -> None:
    pixels = sam.preprocess(picture(128, 64, seed=0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = describe(sam, pixels)
    assert torch.equal(half, describe(sam, pixels))


def test_an_empty_picture_has_a_description_too(sam: Sam) -> None:
    assert describe(sam, torch.zeros(1, 3, 128, 128)).isfinite().all()


def test_an_encoder_with_positions_sees_the_picture_as_large_as_it_is() -> None:
    torch.manual_seed(0)
    vit = build_sam(SamConfig(ViTConfig(embed_dim=32, depth=1, num_heads=2, global_attn_indexes=(0,), img_size=128)))
    pixels = vit.preprocess(picture(128, 64, seed=0))
    with torch.no_grad():
        features = vit.encode(pixels).features
    torch.testing.assert_close(describe(vit, pixels), features[..., :4].mean((-2, -1)))


def test_the_innermost_model_describes(sam: Sam) -> None:
    torch.manual_seed(1)
    once = remembering(build_sam(sam.config), sam, Recogniser())
    twice = remembering(build_sam(sam.config), once, Recogniser())
    assert innermost(twice) is twice.remembered.remembered
    assert innermost(sam) is sam
    pixels = sam.preprocess(picture(128, 128, seed=0))
    assert torch.equal(describe(twice, pixels), describe(sam, pixels))


def test_nano_describes_in_as_many_channels_as_the_line_has() -> None:
    assert nano().encoder.out_chans == CHANNELS  # type: ignore[attr-defined]
