"""CLIP (arXiv 2103.00020) as a text encoder: its weights in the form of Hugging Face, read with `transformers`.

Shapes: N texts or pictures, D numbers each, T = 1 + P * P tokens of a picture: the output token and its patches.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.files import file_sha256
from schemas.errors import InputError

_KEY_DIGITS = 16
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # as published
_AT_ONCE = 16


class Clip:
    """Embeds texts and pictures (`model.text_encoders.PictureTextEncoder`)."""

    def __init__(self, weights: Path | None = None) -> None:
        """weights: a folder with config.json, the tokenizer's files and model.safetensors.

        Raises InputError where there is none, it holds another model, or `transformers` is not installed.
        """
        transformers = import_transformers("the text encoder clip")
        if weights is None:
            raise InputError(
                "the text encoder clip has no weights of its own; give their folder: --encoder-weights DIR"
            )
        file = next((weights / name for name in _WEIGHTS if (weights / name).exists()), None)
        if file is None:
            raise InputError(f"{weights}: holds no {' or '.join(_WEIGHTS)}; expected a CLIP as Hugging Face saves it")
        try:
            self._model = transformers.CLIPModel.from_pretrained(weights, local_files_only=True).eval()
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(weights, local_files_only=True)
        except Exception as error:  # what transformers raises of a folder that it cannot read has many types
            raise InputError(
                f"{weights}: not a CLIP as Hugging Face saves it: {' '.join(str(error).split())}"
            ) from error
        self.key = file_sha256(file)[:_KEY_DIGITS]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, D) float32, each of length 1."""
        longest = self._model.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
            return_token_type_ids=False,
        )
        pooled = self._model.text_model(**tokens).pooler_output
        return F.normalize(self._model.text_projection(pooled).float(), dim=1)

    @torch.no_grad()
    def encode_pictures(
        self, pictures: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.bool_]] | None = None
    ) -> Tensor:
        """(N, D) float32, each of length 1, of pictures (H, W, 3) RGB, which are stretched to a square.

        masks: (H, W) each; the output token then sees patches that have a pixel of it alone, in the last layer (SAM
        paper, appendix D.5), and all where there is none.
        """
        parts = []
        for start in range(0, len(pictures), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            pixels = torch.stack([self._pixels(picture) for picture in pictures[some]])
            seen = None if masks is None else torch.stack([self._patches(mask) for mask in masks[some]])
            with self._output_token_sees(seen):
                pooled = self._model.vision_model(pixel_values=pixels).pooler_output
            parts.append(F.normalize(self._model.visual_projection(pooled).float(), dim=1))
        return torch.cat(parts)

    @property
    def _side(self) -> int:
        side: int = self._model.config.vision_config.image_size
        return side

    def _pixels(self, picture: NDArray[np.uint8]) -> Tensor:
        shrinks = picture.shape[0] > self._side
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        resized = cv2.resize(picture, (self._side, self._side), interpolation=how).astype(np.float32) / 255
        return torch.from_numpy((resized - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)).permute(2, 0, 1)

    def _patches(self, mask: NDArray[np.bool_]) -> Tensor:
        """(P * P,) bool: which patches have a pixel of a mask (H, W); all where none has."""
        across = self._side // self._model.config.vision_config.patch_size
        shown = F.adaptive_max_pool2d(torch.from_numpy(mask)[None].float(), (across, across)).flatten() > 0
        return shown if shown.any() else torch.ones_like(shown)

    @contextmanager
    def _output_token_sees(self, patches: Tensor | None) -> Iterator[None]:
        """In the last layer the output token attends to these patches (N, P * P) and to itself alone; None: to all."""
        if patches is None:
            yield
            return
        count, tokens = len(patches), patches.shape[1] + 1
        allowed = torch.ones(count, 1, tokens, tokens, dtype=torch.bool)
        allowed[:, 0, 0, 1:] = patches
        penalty = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)

        def masked(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, kwargs | {"attention_mask": penalty}

        attention = self._model.vision_model.encoder.layers[-1].self_attn
        hook = attention.register_forward_pre_hook(masked, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


def import_transformers(what: str) -> Any:
    """The package. Raises InputError where it is not installed. what: it is needed for."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"{what} needs the package transformers; get it with: pip install 'sam-data-engine[open-vocabulary]'"
        ) from error
    return transformers
