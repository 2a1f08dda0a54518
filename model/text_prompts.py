"""Prompts that are words: a text head tells where in the picture they are, and masks of the model are chosen by that.

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
_GRID = 16  # points along the longer side that texts choose among the masks of
_LEAN = 1.0  # added to the head's logits: it sees coarsely, and says too little of small things
_MOST_SURE = 4.0  # of a pixel when masks are united, ...
_SURE = 3.0  # ... and when one of three is chosen
_TEXT_COUNTS = 0.5  # beside the predicted IoU
_MOST_PARTS = 12  # of a union
_LEAST_GAIN, _LEAST_GAIN_FRAC = 4.0, 0.02  # of a mask that joins, and as a share of what is there


class FoundText(NamedTuple):
    """Where texts are: logits (N, h, w), above 0 where more likely than not; and is_there (N,), how likely at all."""

    logits: Tensor
    is_there: Tensor

    def united(self, candidates: Tensor) -> MaskPrediction:
        """Of K masks of the picture, logits (K, h, w), those that together are each text best, as one (N, 1, h, w).

        One after the other the mask joins whose new pixels belong to the text most surely, as long as that is much.
        Where none does, the text's own coarse mask stays. The predicted IoU (N, 1) is how likely the text is there at
        all times how likely the mask's pixels are.
        """
        inside = (candidates > 0).flatten(1).to(self.logits.dtype)
        made = torch.stack([_united(logits, candidates, inside) for logits in self.logits])
        return MaskPrediction(made[:, None], (self.is_there * self._likely(made > 0))[:, None])

    def best(self, candidates: MaskPrediction) -> MaskPrediction:
        """Of M masks of each prompt, logits (N, M, h, w), the one (N, 1, h, w) that the text fits best.

        The model's predicted IoU counts, and half as much how surely the mask's pixels belong to the text. The
        predicted IoU (N, 1) is the model's times how likely they are.
        """
        inside = (candidates.logits > 0).to(self.logits.dtype)
        sure = (self.logits / _SURE).clamp(-1, 1)[:, None]
        mean = (inside * sure).flatten(2).sum(2) / inside.flatten(2).sum(2).clamp(min=1)
        best = (candidates.predicted_iou + _TEXT_COUNTS * mean).argmax(1)
        rows = torch.arange(len(best), device=best.device)
        chosen = candidates.logits[rows, best]
        iou = candidates.predicted_iou[rows, best] * self._likely(chosen > 0)
        return MaskPrediction(chosen[:, None], iou[:, None])

    def _likely(self, masks: Tensor) -> Tensor:
        """How likely the pixels of masks (N, h, w) belong to each text, on average: (N,); 0 for an empty mask."""
        inside = masks.flatten(1).to(self.logits.dtype)
        return (inside * (self.logits + _LEAN).sigmoid().flatten(1)).sum(1) / inside.sum(1).clamp(min=1)


def _united(found: Tensor, candidates: Tensor, inside: Tensor) -> Tensor:
    """Logits (h, w). found: (h, w), of a text. candidates: (K, h, w). inside: (K, h * w), 1 where these are above 0."""
    worth = (found + _LEAN).clamp(-_MOST_SURE, _MOST_SURE).flatten()
    free, total, chosen = torch.ones_like(worth), 0.0, []
    for _ in range(min(_MOST_PARTS, len(candidates))):
        gains = inside @ (free * worth)
        best = int(gains.argmax())
        if float(gains[best]) <= max(_LEAST_GAIN, _LEAST_GAIN_FRAC * total):
            break
        total += float(gains[best])
        free = free * (1 - inside[best])
        chosen.append(best)
    return candidates[chosen].amax(0) if chosen else found


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


def points_for_texts(image_hw: tuple[int, int], input_hw: tuple[int, int], *, side: int) -> Tensor:
    """A grid of points (K, 1, 2) over a picture of (height, width), among whose masks texts choose.

    input_hw: (height, width) of the picture in the padded input, whose side is `side`.
    """
    (height, width), spacing = image_hw, side / _GRID
    rows, columns = (max(1, round(length / spacing)) for length in input_hw)
    y, x = (torch.arange(rows) + 0.5) * height / rows, (torch.arange(columns) + 0.5) * width / columns
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 1, 2)


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
