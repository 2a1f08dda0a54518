"""Image encoders by name: the configuration of each, which fixes its size and builds its module (`model.encoders`).

Without torch: whoever lists models reads them too.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from schemas.errors import InputError
from schemas.plugins import Registry

if TYPE_CHECKING:
    from model.encoders import ImageEncoder

STAGE_STRIDES = (4, 8, 16, 16)  # of TinyViT's four stages


class EncoderConfig(Protocol):
    """The size of an image encoder: a frozen dataclass of plain values, which a model's `config.json` holds.

    kind: the name it is registered by. generator_preset: of `schemas.presets`, the one that fits its masks.
    retrain_lr_factor: of the recipe `retrain`, the encoder's learning rate as a multiple of the decoder's.
    """

    kind: ClassVar[str]
    generator_preset: ClassVar[str]
    retrain_lr_factor: ClassVar[float]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def img_size(self) -> int:
        """Side of the square input in pixels; a multiple of 16."""
        ...

    def build(self) -> "ImageEncoder":
        """The encoder with random weights."""
        ...


ENCODERS: Registry[type[EncoderConfig]] = Registry(
    "image encoder",
    group="sam_data_engine.encoders",
    needs=("kind", "generator_preset", "retrain_lr_factor", "build"),
    builtin={
        "vit": "model.encoder_configs:ViTConfig",
        "tiny_vit": "model.encoder_configs:TinyViTConfig",
        "efficientnet": "model.encoder_configs:EfficientNetConfig",
        "hiera": "model.encoder_configs:HieraConfig",
    },
)


def check_registered(config: EncoderConfig) -> None:
    """Raises InputError unless `config.kind` is the name under which this very class is found."""
    if ENCODERS[config.kind] is not type(config):
        raise InputError(
            f"{type(config).__module__}.{type(config).__name__}: its kind {config.kind!r} is the name of another image "
            "encoder; choose another, the same as that of its entry point"
        )


@dataclass(frozen=True)
class ViTConfig:
    """Size of a ViT encoder. `global_attn_indexes`: blocks that see the whole grid; the others see their window only.

    drop_path_rate: share of images for which the last block is left out in training (stochastic depth, growing
    linearly from 0 at the first block); the published weights need none.
    Raises ValueError where the sizes do not fit.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: tuple[int, ...]
    img_size: int = 1024
    patch_size: int = 16
    window_size: int = 14
    mlp_ratio: float = 4.0
    out_chans: int = 256
    drop_path_rate: float = 0.0

    kind: ClassVar[str] = "vit"
    generator_preset: ClassVar[str] = "library-default"
    retrain_lr_factor: ClassVar[float] = 0.25  # careful: faster ones were not tried

    def __post_init__(self) -> None:
        # A configuration that comes from JSON brings a list.
        object.__setattr__(self, "global_attn_indexes", tuple(self.global_attn_indexes))
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is no multiple of num_heads {self.num_heads}")
        if self.img_size % self.patch_size:
            raise ValueError(f"img_size {self.img_size} is no multiple of patch_size {self.patch_size}")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate {self.drop_path_rate} is not in [0, 1)")

    @property
    def grid_size(self) -> int:
        """Tokens along a side of the image."""
        return self.img_size // self.patch_size

    def build(self) -> "ImageEncoder":
        from model.image_encoder import ImageEncoderViT

        return ImageEncoderViT(self)


VIT_B = ViTConfig(embed_dim=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11))
VIT_L = ViTConfig(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23))
VIT_H = ViTConfig(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31))


@dataclass(frozen=True)
class TinyViTConfig:
    """Size of a TinyViT encoder; tuples have one number for each of the four stages (the first has no attention).

    num_classes: the published file carries the classifier it was pretrained with; nothing uses it.
    drop_path_rate: as in ViTConfig. Raises ValueError where the sizes do not fit.
    """

    img_size: int = 1024
    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (2, 4, 5, 10)
    window_sizes: tuple[int, ...] = (7, 7, 14, 7)
    mlp_ratio: float = 4.0
    out_chans: int = 256
    num_classes: int = 1000
    drop_path_rate: float = 0.0

    kind: ClassVar[str] = "tiny_vit"
    generator_preset: ClassVar[str] = "library-default"
    retrain_lr_factor: ClassVar[float] = 0.25  # careful: faster ones were not tried

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list | tuple):
                object.__setattr__(self, field.name, tuple(value))
                if len(value) != len(STAGE_STRIDES):
                    raise ValueError(f"{field.name}: expected one number for each of 4 stages, found {value}")
        if self.img_size % 16:
            raise ValueError(f"img_size {self.img_size} is no multiple of 16")
        if any(dim % heads for dim, heads in zip(self.embed_dims[1:], self.num_heads[1:], strict=True)):
            raise ValueError(f"embed_dims {self.embed_dims} are no multiples of num_heads {self.num_heads}")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate {self.drop_path_rate} is not in [0, 1)")

    def build(self) -> "ImageEncoder":
        from model.tiny_vit import TinyViT

        return TinyViT(self)


VIT_T = TinyViTConfig()


@dataclass(frozen=True)
class EfficientNetConfig:
    """Size of the backbone (`width` and `depth` multiply channels and repeats) and of the neck that it feeds."""

    width: float = 1.0
    depth: float = 1.0
    out_chans: int = 256
    neck_depth: int = 2
    img_size: int = 512

    kind: ClassVar[str] = "efficientnet"
    generator_preset: ClassVar[str] = "nano"
    retrain_lr_factor: ClassVar[float] = 4.0  # measured: see `training.presets.retrain`

    def build(self) -> "ImageEncoder":
        from model.efficientnet import EfficientNetEncoder

        return EfficientNetEncoder(self)


LITE0 = EfficientNetConfig()
LITE1 = EfficientNetConfig(depth=1.1)
LITE2 = EfficientNetConfig(width=1.1, depth=1.2)


@dataclass(frozen=True)
class HieraConfig:
    """Size of a Hiera encoder; tuples have one number for each of the four stages. Channels and heads double a stage.

    global_attn_indexes: blocks that see the whole grid. pos_embed_side: of the coarse map of positions.
    drop_path_rate: as in ViTConfig. Raises ValueError where the sizes do not fit.
    """

    embed_dim: int
    num_heads: int
    depths: tuple[int, ...]
    global_attn_indexes: tuple[int, ...]
    window_sizes: tuple[int, ...] = (8, 4, 14, 7)
    pos_embed_side: int = 7
    img_size: int = 1024
    mlp_ratio: float = 4.0
    drop_path_rate: float = 0.0

    kind: ClassVar[str] = "hiera"
    generator_preset: ClassVar[str] = "library-default"
    retrain_lr_factor: ClassVar[float] = 0.25  # careful: faster ones were not tried

    def __post_init__(self) -> None:
        for name in ("depths", "global_attn_indexes", "window_sizes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.depths) != 4 or len(self.window_sizes) != 4:
            raise ValueError(f"expected depths and window_sizes of 4 stages, found {self.depths}, {self.window_sizes}")
        if self.img_size % 32 or self.img_size // 4 % self.window_sizes[0]:
            raise ValueError(
                f"img_size {self.img_size} is no multiple of 32 and of 4 windows of {self.window_sizes[0]}"
            )
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is no multiple of num_heads {self.num_heads}")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate {self.drop_path_rate} is not in [0, 1)")

    @property
    def stage_dims(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return tuple(self.embed_dim * 2**stage for stage in range(4))

    @property
    def stage_ends(self) -> tuple[int, ...]:
        """The last block of each stage."""
        return tuple(sum(self.depths[: stage + 1]) - 1 for stage in range(4))

    def build(self) -> "ImageEncoder":
        from model.hiera import HieraEncoder

        return HieraEncoder(self)


HIERA_T = HieraConfig(96, 1, depths=(1, 2, 7, 2), global_attn_indexes=(5, 7, 9))
HIERA_S = HieraConfig(96, 1, depths=(1, 2, 11, 2), global_attn_indexes=(7, 10, 13))
HIERA_B_PLUS = HieraConfig(112, 2, depths=(2, 3, 16, 3), global_attn_indexes=(12, 16, 20), pos_embed_side=14)
HIERA_L = HieraConfig(
    144, 2, depths=(2, 6, 36, 4), global_attn_indexes=(23, 33, 43), window_sizes=(8, 4, 16, 8), pos_embed_side=7
)
