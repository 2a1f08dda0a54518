"""Prompts that are words: a text head tells where in the picture they are, and the mask decoder draws their border.

Shapes: N prompts, D numbers a text, G side of the image embedding, (h, w) = 4 G side of the decoder's logits.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.encoders import EMBEDDING_STRIDE
from model.mask_decoder import MaskPrediction
from model.text_encoders import TEXT_ENCODERS, TextEncoder
from model.text_head import CARD_FILE, TEXT_HEAD_FOLDER, SavedHead, load_text_head
from schemas.errors import InputError

_LONGEST_TEXT = 1000  # characters
_PADDING = -20.0
# What the decoder was told in training of a mask that it shall keep (`model.training.mask_prompts`).
_GAIN, _INSIDE, _OUTSIDE = 3.0, 10.0, -20.0


class FoundText(NamedTuple):
    """Where texts are: logits (N, h, w), above 0 where more likely than not; and is_there (N,), how likely at all."""

    logits: Tensor
    is_there: Tensor

    def as_mask_prompt(self) -> Tensor:
        """(N, 1, h, w) logits, as surely inside and outside as those of masks."""
        return (self.logits * _GAIN).clamp(_OUTSIDE, _INSIDE)[:, None]

    def best(self, candidates: MaskPrediction) -> MaskPrediction:
        """Of M masks of each prompt, logits (N, M, h, w), the one (N, 1, h, w) that the text fits best.

        That is the one in which, as far as the head sees, most pixels belong to the text and fewest do not. Its
        predicted IoU (N, 1) is cut by the share of it that does.
        """
        inside = (candidates.logits > 0).to(self.logits.dtype)
        fit = (inside * self.logits[:, None]).flatten(2).sum(2)
        best = fit.argmax(1)
        rows = torch.arange(len(best), device=best.device)
        mask = inside[rows, best]
        share = (mask * self.logits.sigmoid()).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)
        return MaskPrediction(
            candidates.logits[rows, best][:, None], (candidates.predicted_iou[rows, best] * share)[:, None]
        )


class TextPrompter:
    """Finds texts on the embeddings of one model. Heads and encoders are read when they are first needed."""

    def __init__(
        self, head: Callable[[], SavedHead], encoder: Callable[[SavedHead], TextEncoder] | None = None
    ) -> None:
        """encoder: of texts that the head was not trained on; by default the one that the head's card names."""
        self._load_head, self._load_encoder = head, encoder or encoder_of

    def find(self, features: Tensor, texts: Sequence[str], *, shown_hw: tuple[int, int]) -> FoundText:
        """Where texts are in a picture of which features (1, C, G, G) are the embedding.

        shown_hw: (height, width) of the picture in the padded input, in pixels.
        Raises InputError for an empty text, and for one that the head does not know where its encoder is missing.
        """
        embedded = self.embed(texts).to(features.device)
        head = self._saved.head
        coarse = head(head.look(features.float()), embedded)
        rows, columns = (-(-side // EMBEDDING_STRIDE) for side in shown_hw)
        is_there = head.is_there(coarse[:, :rows, :columns]).sigmoid()
        logits = F.interpolate(coarse[:, None], scale_factor=4, mode="bilinear", align_corners=False)[:, 0]
        height, width = (-(-4 * side // EMBEDDING_STRIDE) for side in shown_hw)
        logits[:, height:] = _PADDING
        logits[:, :, width:] = _PADDING
        return FoundText(logits, is_there)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(N, D), each of length 1. Raises InputError as `find` does."""
        plain = [usual_text(text) for text in texts]
        new = [text for text in dict.fromkeys(plain) if text not in self._known]
        if new:
            self._known.update(zip(new, self._encoder.encode(new), strict=True))
        return torch.stack([self._known[text] for text in plain])

    @property
    def words(self) -> list[str]:
        """The texts that the head was trained on."""
        return list(self._saved.words)

    @cached_property
    def _saved(self) -> SavedHead:
        return self._load_head()

    @cached_property
    def _known(self) -> dict[str, Tensor]:
        return dict(self._saved.words)

    @cached_property
    def _encoder(self) -> TextEncoder:
        try:
            return self._load_encoder(self._saved)
        except InputError as error:
            raise InputError(f"{error}; without it these texts are known: {_listed(self.words)}") from error


def text_prompter(model_folder: Path, *, device: torch.device | str = "cpu") -> TextPrompter | None:
    """Of the text head that lies beside a model; None where there is none."""
    folder = model_folder / TEXT_HEAD_FOLDER
    if not (folder / CARD_FILE).exists():
        return None
    return TextPrompter(lambda: load_text_head(folder, device=device))


def encoder_of(saved: SavedHead) -> TextEncoder:
    """The text encoder that a head was trained with. Raises InputError where it is not installed or another one."""
    name, weights = saved.card["encoder"], saved.card.get("encoder_weights")
    encoder = TEXT_ENCODERS[name](Path(weights) if weights else None)
    if encoder.key != saved.card["encoder_key"]:
        raise InputError(
            f"text encoder {name}: its weights ({encoder.key}) are not those that the text head was trained with "
            f"({saved.card['encoder_key']})"
        )
    return encoder


def usual_text(text: str) -> str:
    """A text as it is looked up: lower case, single spaces. Raises InputError for one that is empty or endless."""
    plain = " ".join(text.lower().split())
    if not plain:
        raise InputError("text: it is empty; say what to look for, as in: car")
    if len(plain) > _LONGEST_TEXT:
        raise InputError(f"text: {len(plain)} characters, at most {_LONGEST_TEXT} can be read")
    return plain


def _listed(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
