"""Architectures of SAM: what `config.json` of a model holds. Without torch: whoever lists models reads it too."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from model.encoder_configs import LITE2, VIT_B, VIT_H, VIT_L, VIT_T, EfficientNetConfig, TinyViTConfig, ViTConfig

EncoderConfig = ViTConfig | TinyViTConfig | EfficientNetConfig
_ENCODER_KINDS: dict[str, type[ViTConfig] | type[TinyViTConfig] | type[EfficientNetConfig]] = {
    "vit": ViTConfig,
    "tiny_vit": TinyViTConfig,
    "efficientnet": EfficientNetConfig,
}


@dataclass(frozen=True)
class SamConfig:
    """Everything that fixes the architecture; the defaults of the decoder are the published ones."""

    encoder: EncoderConfig
    decoder_depth: int = 2
    decoder_mlp_dim: int = 2048
    high_res_features: bool = False
    dropout: float = 0.0
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file; `from_dict` reads them back."""
        kind = next(name for name, config in _ENCODER_KINDS.items() if isinstance(self.encoder, config))
        return asdict(self) | {"encoder": {"kind": kind} | asdict(self.encoder)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "SamConfig":
        """Raises ValueError for an unknown kind of encoder or an unknown key."""
        encoder = dict(values["encoder"])
        kind = encoder.pop("kind", None)
        if kind not in _ENCODER_KINDS:
            raise ValueError(f"unknown image encoder {kind!r}; known: {', '.join(_ENCODER_KINDS)}")
        rest = {key: value for key, value in values.items() if key != "encoder"}
        unknown = rest.keys() - {field.name for field in fields(SamConfig)}
        if unknown:
            raise ValueError(f"unknown model settings {sorted(unknown)}")
        return SamConfig(encoder=_ENCODER_KINDS[kind](**_tuples(encoder)), **_tuples(rest))


def vit_h() -> SamConfig:
    return SamConfig(VIT_H)


def vit_l() -> SamConfig:
    return SamConfig(VIT_L)


def vit_b() -> SamConfig:
    return SamConfig(VIT_B)


def vit_t() -> SamConfig:
    """MobileSAM: TinyViT under SAM's decoder (arXiv 2306.14289)."""
    return SamConfig(VIT_T)


def nano() -> SamConfig:
    """The model that ships with this package: EfficientNet-Lite2 at 512 px, a decoder that sees finer features."""
    return SamConfig(LITE2, high_res_features=True, pixel_mean=(127.0,) * 3, pixel_std=(128.0,) * 3)


MODEL_SIZES = {"vit_h": vit_h, "vit_l": vit_l, "vit_b": vit_b, "vit_t": vit_t, "nano": nano}


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
