"""Architectures of SAM: what `config.json` of a model holds. Without torch: whoever lists models reads it too."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from model.encoder_configs import ENCODERS, LITE2, VIT_B, VIT_H, VIT_L, VIT_T, EncoderConfig
from schemas.plugins import Registry


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
        return asdict(self) | {"encoder": {"kind": self.encoder.kind} | asdict(self.encoder)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "SamConfig":
        """Raises ValueError for an unknown kind of encoder or an unknown key."""
        encoder = dict(values["encoder"])
        kind = ENCODERS[encoder.pop("kind", None)]
        rest = {key: value for key, value in values.items() if key != "encoder"}
        unknown = rest.keys() - {field.name for field in fields(SamConfig)}
        if unknown:
            raise ValueError(f"unknown model settings {sorted(unknown)}")
        return SamConfig(encoder=kind(**_tuples(encoder)), **_tuples(rest))


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


# Each names the layout of a weights file, too: such files are recognised by the names and shapes in them.
MODEL_SIZES: Registry[Callable[[], SamConfig]] = Registry(
    "model size",
    group="sam_data_engine.model_sizes",
    needs=("__call__",),
    builtin={name: f"model.config:{name}" for name in ("vit_h", "vit_l", "vit_b", "vit_t", "nano")},
)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
