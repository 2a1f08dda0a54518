"""What every image encoder promises, built in or not."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from model.config import SamConfig
from model.encoder_configs import ENCODERS, EfficientNetConfig, EncoderConfig, HieraConfig, TinyViTConfig, ViTConfig
from model.encoders import EMBED_DIM, EMBEDDING_STRIDE, ImageEmbedding, ImageEncoder
from model.sam import build_sam
from schemas.errors import InputError
from schemas.presets import GENERATOR_PRESETS

SMALL: dict[str, EncoderConfig] = {
    "vit": ViTConfig(embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), img_size=64, window_size=3),
    "tiny_vit": TinyViTConfig(img_size=64, depths=(1, 1, 2, 1)),
    "efficientnet": EfficientNetConfig(width=0.25, depth=0.3, img_size=64),
    "hiera": HieraConfig(8, 1, (1, 1, 1, 1), global_attn_indexes=(2,), window_sizes=(8, 4, 4, 2), img_size=64),
}


def test_every_built_in_encoder_is_looked_at_here() -> None:
    assert SMALL.keys() == dict(ENCODERS.working()).keys()


@pytest.mark.parametrize("kind", SMALL)
def test_an_encoder_gives_what_the_base_promises(kind: str) -> None:
    config = SMALL[kind]
    assert ENCODERS[kind] is type(config)
    assert config.kind == kind
    assert config.generator_preset in GENERATOR_PRESETS
    encoder = config.build()
    with torch.no_grad():
        features, high_res, early, depth = encoder(torch.zeros(2, 3, 64, 64))
    assert depth is None, "only a model that remembers others tells them apart"
    assert features.shape == (2, EMBED_DIM, 64 // EMBEDDING_STRIDE, 64 // EMBEDDING_STRIDE)
    expected = [(2, chans, 64 // at, 64 // at) for at, chans in zip((4, 8), encoder.high_res_chans or (), strict=False)]
    assert [tuple(each.shape) for each in high_res] == expected
    assert (early is None) == (encoder.early_chans is None)
    if early is not None:
        assert early.shape == (2, encoder.early_chans, *features.shape[2:])
    if encoder.depth is not None:
        layers = {encoder.layer_of(name) for name, _ in encoder.named_parameters()}
        assert layers == set(range(encoder.depth + 2))


@pytest.mark.parametrize("kind", SMALL)
def test_the_architecture_comes_back_from_plain_values(kind: str) -> None:
    config = SamConfig(SMALL[kind], decoder_depth=3)
    assert config.to_dict()["encoder"]["kind"] == kind
    assert SamConfig.from_dict(config.to_dict()) == config


def test_only_batch_statistics_mix_pictures() -> None:
    assert {kind for kind, config in SMALL.items() if config.build().mixes_pictures} == {"tiny_vit"}


def test_an_unknown_encoder_lists_the_known_ones() -> None:
    values = SamConfig(SMALL["vit"]).to_dict()
    values["encoder"]["kind"] = "swin"
    with pytest.raises(InputError, match="unknown image encoder 'swin'; known: vit, tiny_vit, efficientnet, hiera"):
        SamConfig.from_dict(values)


class _Wrong(ImageEncoder):
    img_size = 64

    def forward(self, images: Tensor) -> ImageEmbedding:
        return ImageEmbedding(images.new_zeros(len(images), EMBED_DIM, 8, 8))


@dataclass(frozen=True)
class _WrongConfig:
    img_size: int = 64
    kind: ClassVar[str] = "wrong"
    generator_preset: ClassVar[str] = "nano"
    retrain_lr_factor: ClassVar[float] = 1.0

    def build(self) -> ImageEncoder:
        return _Wrong()


def test_an_encoder_that_is_registered_nowhere_is_refused_before_it_is_trained() -> None:
    with pytest.raises(InputError, match="unknown image encoder 'wrong'"):
        build_sam(SamConfig(_WrongConfig()))


def test_an_encoder_under_the_name_of_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_WrongConfig, "kind", "vit")
    with pytest.raises(InputError, match="its kind 'vit' is the name of another image encoder"):
        build_sam(SamConfig(_WrongConfig()))


def test_features_of_another_shape_are_an_error_that_names_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS._loaded, "wrong", _WrongConfig)
    sam = build_sam(SamConfig(_WrongConfig()))
    with pytest.raises(ValueError, match=r"_Wrong: expected features \(256, 4, 4\), found \(256, 8, 8\)"):
        sam.encode(torch.zeros(1, 3, 64, 64))
