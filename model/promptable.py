"""What a predictor asks of a model: to encode pictures, and to decode prompts into masks.

Shapes: N prompts, P points each, C masks a prompt; (h, w) low-resolution mask logits, a quarter of the model's input
size. Points are (x, y), boxes XYXY, both in pixels of the resized picture, the model's input without its padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from model.mask_decoder import MaskPrediction


class PromptableModel(Protocol):
    """What the predictor needs of a model; `model.sam.Sam` has it, and so has a fake that replays given outputs."""

    @property
    def image_size(self) -> int: ...

    @property
    def mask_threshold(self) -> float: ...

    @property
    def device(self) -> torch.device: ...

    def preprocess(self, images: Tensor, /) -> Tensor:
        """(B, 3, h, w) uint8 RGB, longest side `image_size`, to what `encode` takes: normalised, padded square."""
        ...

    def encode(self, pixels: Tensor, /) -> Any:
        """Returns whatever `decode` takes as embedding; the predictor only keeps it."""
        ...

    def decode(
        self,
        embedding: Any,
        /,
        *,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
    ) -> MaskPrediction:
        """points: (N, P, 2) and labels (N, P); boxes: (N, 4); both in pixels of the resized picture."""
        ...


@runtime_checkable
class SharingModel(PromptableModel, Protocol):
    """A model that computes what all prompts of a picture share once; `model.sam.Sam` is one."""

    def precompute(self, embedding: Any, /, *, dtype: torch.dtype, shown_hw: tuple[int, int]) -> Any:
        """Returns whatever `prompt` takes. shown_hw: size of the picture in the padded input."""
        ...

    def prompt(
        self,
        image: Any,
        /,
        *,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        multimask_output: bool,
    ) -> "PromptedMasks":
        """points and boxes as `decode` takes them."""
        ...


@runtime_checkable
class TextModel(PromptableModel, Protocol):
    """A model that understands texts by itself, without a text head; `engine.fast_sam.FastSam` is one."""

    def decode_texts(self, embedding: Any, texts: Sequence[str], /) -> MaskPrediction:
        """One mask (C = 1) for each of N texts."""
        ...


class PromptedMasks(Protocol):
    """The masks of N prompts, of which the predicted IoU is known and the logits are made when they are asked for."""

    @property
    def predicted_iou(self) -> Tensor:
        """(N, C) float32."""
        ...

    def logits(self, index: Tensor, /) -> Tensor:
        """(K, h, w) float32 logits of the masks `index` (K,) int64, which counts through (N, C) row by row."""
        ...


@dataclass(frozen=True)
class DecodedMasks:
    """PromptedMasks of which everything is there already. all_logits: (N, C, h, w)."""

    predicted_iou: Tensor
    all_logits: Tensor

    def logits(self, index: Tensor, /) -> Tensor:
        return self.all_logits.flatten(0, 1)[index]
