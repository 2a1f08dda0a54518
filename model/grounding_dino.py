"""Grounding DINO (arXiv 2303.05499), which finds boxes of what phrases say: its weights read with `transformers`.

Shapes: Q queries (boxes of the model), T tokens of all phrases, N boxes that are found.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.clip import import_transformers
from model.files import file_sha256
from model.word_pieces import WordPieces
from schemas.errors import InputError

_KEY_DIGITS = 16
_WEIGHTS, _VOCABULARY = "model.safetensors", "vocab.txt"
_SHORTEST_PX, _LONGEST_PX = 800, 1333  # of pictures, as published
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MOST_TOKENS = 256


class FoundPhrases(NamedTuple):
    """boxes: (N, 4) XYXY pixels of the picture, best first. scores: (N,) in [0, 1]. phrases: of each box."""

    boxes: Tensor
    scores: Tensor
    phrases: list[str]


class GroundingDino:
    """Finds phrases in pictures."""

    def __init__(self, weights: Path, phrases: Sequence[str], *, device: torch.device | str = "cpu") -> None:
        """weights: a folder with config.json, vocab.txt and model.safetensors, as Hugging Face has them.

        Raises InputError where a file is missing or another model's, where there is no phrase or too many, and where
        `transformers` is not installed.
        """
        transformers = import_transformers("Grounding DINO")
        file = weights / _WEIGHTS
        if not file.exists():
            raise InputError(f"{file}: no such file; expected a Grounding DINO as Hugging Face saves it")
        self.phrases = list(phrases)
        self._tokens, self._spans = _tokens_of(self.phrases, WordPieces.read(weights / _VOCABULARY))
        try:
            kind = transformers.GroundingDinoForObjectDetection
            self._model = kind.from_pretrained(weights, local_files_only=True).to(device).eval()
        except Exception as error:  # what transformers raises of a folder that it cannot read has many types
            said = " ".join(str(error).split())
            raise InputError(f"{weights}: not a Grounding DINO as Hugging Face saves it: {said}") from error
        self.key = file_sha256(file)[:_KEY_DIGITS]

    @torch.no_grad()
    def detect(self, image: NDArray[np.uint8], *, least_score: float = 0.3) -> FoundPhrases:
        """Boxes of at least that score in a picture (H, W, 3) uint8 RGB, each with the phrase that fits it best."""
        device = self._model.device
        pixels, tokens = _pixels(image)[None].to(device), torch.tensor([self._tokens], device=device)
        found: Any = self._model(
            pixel_values=pixels,
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            token_type_ids=torch.zeros_like(tokens),
            pixel_mask=torch.ones_like(pixels[:, 0], dtype=torch.int64),
        )
        by_token = found.logits[0].float().sigmoid().cpu()
        by_phrase = torch.stack([by_token[:, span].amax(1) for span in self._spans], dim=1)
        scores, best = by_phrase.max(1)
        order = scores.argsort(descending=True)
        order = order[scores[order] >= least_score]
        boxes = _corners(found.pred_boxes[0].float().cpu()[order], image.shape[0], image.shape[1])
        return FoundPhrases(boxes, scores[order], [self.phrases[phrase] for phrase in best[order].tolist()])


def _tokens_of(phrases: Sequence[str], pieces: WordPieces) -> tuple[list[int], list[slice]]:
    """All phrases as one text, a full stop behind each, and where in it each is."""
    if not phrases:
        raise InputError("Grounding DINO: no phrase to look for")
    start, end = pieces("", longest=_MOST_TOKENS)
    stop = pieces(".", longest=_MOST_TOKENS)[1:-1]
    tokens, spans = [start], []
    for phrase in phrases:
        own = pieces(phrase.replace(".", " "), longest=_MOST_TOKENS)[1:-1]
        if not own:
            raise InputError(f"Grounding DINO: the phrase {phrase!r} has no words")
        spans.append(slice(len(tokens), len(tokens) + len(own)))
        tokens += [*own, *stop]
    if len(tokens) >= _MOST_TOKENS:
        raise InputError(f"Grounding DINO: the phrases have {len(tokens)} tokens, it reads {_MOST_TOKENS}; give fewer")
    return [*tokens, end], spans


def _pixels(image: NDArray[np.uint8]) -> Tensor:
    """(3, h, w), the shorter side 800 px unless the longer one then has over 1333, normalised."""
    height, width = image.shape[:2]
    scale = min(_SHORTEST_PX / min(height, width), _LONGEST_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    return torch.from_numpy((resized - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)).permute(2, 0, 1)


def _corners(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes (N, 4), centre and sides as shares of the picture, as XYXY pixels within it."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    size = torch.tensor([width, height, width, height])
    return (torch.cat([centre - half, centre + half], dim=1) * size).clamp(min=0).minimum(size)
