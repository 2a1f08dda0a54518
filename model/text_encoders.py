"""Text encoders by name: what makes numbers of words, so that words that mean the same lie close together.

Shapes: N texts or pictures, D numbers each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from schemas.plugins import Registry


class TextEncoder(Protocol):
    """Embeds texts; made of a file or folder of weights, or of None for those that its package brings.

    The maker raises InputError, with the way out, where weights or a package that it needs are missing.
    """

    @property
    def key(self) -> str:
        """16 hex digits of its weights: embeddings of equal keys can be compared."""
        ...

    def encode(self, texts: Sequence[str], /) -> Tensor:
        """(N, D) float32 on the CPU, each of length 1."""
        ...


@runtime_checkable
class PictureTextEncoder(TextEncoder, Protocol):
    """One that embeds pictures among texts, as CLIP does: a head can then learn without labels (SAM paper, D.5)."""

    def encode_pictures(
        self, pictures: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.bool_]] | None = None, /
    ) -> Tensor:
        """(N, D) float32 on the CPU, each of length 1, of pictures (H, W, 3) RGB.

        masks: (H, W) each, what of the picture is meant; None for all.
        """
        ...


class TextEncoderMaker(Protocol):
    """Usually the class itself."""

    def __call__(self, weights: Path | None, /) -> TextEncoder: ...


TEXT_ENCODERS: Registry[TextEncoderMaker] = Registry(
    "text encoder",
    group="sam_data_engine.text_encoders",
    needs=("__call__",),
    builtin={
        "minilm": "model.minilm:MiniLm",
        "clip": "model.clip:Clip",
    },
)
