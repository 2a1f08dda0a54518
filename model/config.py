"""Architectures of SAM: what `config.json` of a model holds. Without torch: whoever lists models reads it too."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from model.encoder_configs import (
    ENCODERS,
    HIERA_B_PLUS,
    HIERA_L,
    HIERA_S,
    HIERA_T,
    LITE0,
    LITE1,
    LITE2,
    VIT_B,
    VIT_H,
    VIT_L,
    VIT_T,
    EncoderConfig,
)
from schemas.plugins import Registry

DecoderName = Literal["sam", "sam_hq", "sam2"]


@dataclass(frozen=True)
class SamConfig:
    """Everything that fixes the architecture; the defaults of the decoder are the published ones.

    decoder: `sam`; `sam_hq`, which fuses early features of the encoder and takes no high-resolution ones; or `sam2`.
    hq_token_only: of `sam_hq`, leave SAM's own mask out (for pictures of one object, as published).
    stretched: pictures are stretched to the square that the encoder sees, rather than padded.
    remembers: the architecture of another model inside, which answers for pictures of the kinds that it knows
    (`model.remembering`); None for none.
    """

    encoder: EncoderConfig
    decoder_depth: int = 2
    decoder_mlp_dim: int = 2048
    decoder: DecoderName = "sam"
    high_res_features: bool = False
    hq_token_only: bool = False
    stretched: bool = False
    dropout: float = 0.0
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    remembers: "SamConfig | None" = None

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown decoder, one with settings of another, or a model inside that sees pictures
        otherwise."""
        if self.decoder not in get_args(DecoderName):
            raise ValueError(f"decoder: expected one of {get_args(DecoderName)}, found {self.decoder!r}")
        if self.high_res_features and self.decoder == "sam_hq":
            raise ValueError("high_res_features: the decoder sam_hq has finer features of its own")
        if self.hq_token_only and self.decoder != "sam_hq":
            raise ValueError(f"hq_token_only: of the decoder sam_hq, found {self.decoder}")
        if self.remembers is not None and self.sight != self.remembers.sight:
            raise ValueError(f"remembers: sees pictures as {self.remembers.sight}, the model around it as {self.sight}")

    @property
    def sight(self) -> tuple[Any, ...]:
        """How pictures are prepared for the encoder: its input side in pixels, stretched or padded, normalised how."""
        return self.encoder.img_size, self.stretched, self.pixel_mean, self.pixel_std

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file; `from_dict` reads them back."""
        values = asdict(self) | {"encoder": {"kind": self.encoder.kind} | asdict(self.encoder)}
        del values["remembers"]
        return values if self.remembers is None else values | {"remembers": self.remembers.to_dict()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "SamConfig":
        """Raises ValueError for an unknown kind of encoder or an unknown key."""
        encoder = dict(values["encoder"])
        kind = ENCODERS[encoder.pop("kind", None)]
        rest = {key: value for key, value in values.items() if key not in ("encoder", "remembers")}
        unknown = rest.keys() - {field.name for field in fields(SamConfig)}
        if unknown:
            raise ValueError(f"unknown model settings {sorted(unknown)}")
        inner = values.get("remembers")
        remembers = None if inner is None else SamConfig.from_dict(inner)
        return SamConfig(encoder=kind(**_tuples(encoder)), remembers=remembers, **_tuples(rest))


def vit_h() -> SamConfig:
    return SamConfig(VIT_H)


def vit_l() -> SamConfig:
    return SamConfig(VIT_L)


def vit_b() -> SamConfig:
    return SamConfig(VIT_B)


def vit_t() -> SamConfig:
    """MobileSAM: TinyViT under SAM's decoder (arXiv 2306.14289)."""
    return SamConfig(VIT_T)


def sam_hq_vit_h() -> SamConfig:
    """SAM-HQ (arXiv 2306.01567), named as its published files are; likewise the next three."""
    return SamConfig(VIT_H, decoder="sam_hq")


def sam_hq_vit_l() -> SamConfig:
    return SamConfig(VIT_L, decoder="sam_hq")


def sam_hq_vit_b() -> SamConfig:
    return SamConfig(VIT_B, decoder="sam_hq")


def sam_hq_vit_tiny() -> SamConfig:
    """On MobileSAM's encoder."""
    return SamConfig(VIT_T, decoder="sam_hq")


def _sam2(encoder: EncoderConfig) -> SamConfig:
    return SamConfig(encoder, decoder="sam2", high_res_features=True, stretched=True)


def sam2_1_hiera_tiny() -> SamConfig:
    """SAM 2.1 for pictures (arXiv 2408.00714), named as its published files are; likewise the next three."""
    return _sam2(HIERA_T)


def sam2_1_hiera_small() -> SamConfig:
    return _sam2(HIERA_S)


def sam2_1_hiera_base_plus() -> SamConfig:
    return _sam2(HIERA_B_PLUS)


def sam2_1_hiera_large() -> SamConfig:
    return _sam2(HIERA_L)


def nano() -> SamConfig:
    """The model that ships with this package: EfficientNet-Lite2 at 512 px, a decoder that sees finer features."""
    return SamConfig(LITE2, high_res_features=True, pixel_mean=(127.0,) * 3, pixel_std=(128.0,) * 3)


def nano_lite0() -> SamConfig:
    """`nano` on a smaller encoder of the same family; likewise the next one. None of them ships trained."""
    return replace(nano(), encoder=LITE0)


def nano_lite1() -> SamConfig:
    return replace(nano(), encoder=LITE1)


_SAM2_SIZES = ("sam2.1_hiera_tiny", "sam2.1_hiera_small", "sam2.1_hiera_base_plus", "sam2.1_hiera_large")
UNPUBLISHED = ("nano_lite0", "nano_lite1")  # sizes of which everybody trains their own
_SIZES = (
    *("vit_h", "vit_l", "vit_b", "vit_t", "nano"),
    *("sam_hq_vit_h", "sam_hq_vit_l", "sam_hq_vit_b", "sam_hq_vit_tiny"),
    *_SAM2_SIZES,
    *UNPUBLISHED,
)
FETCHED = ("vit_h", "vit_l", "vit_b", "vit_t", *_SAM2_SIZES)  # sizes whose published weights `models fetch` gets
# Each names the layout of a weights file, too: such files are recognised by the names and shapes in them.
MODEL_SIZES: Registry[Callable[[], SamConfig]] = Registry(
    "model size",
    group="sam_data_engine.model_sizes",
    needs=("__call__",),
    builtin={name: f"model.config:{name.replace('.', '_')}" for name in _SIZES},
)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
