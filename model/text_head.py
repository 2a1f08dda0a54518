"""The text head: where in a picture what a text says is, as a prompt for the mask decoder.

A few layers look at the image embedding of a frozen model; what they see is compared with the text at every pixel.

Shapes: B pictures, N texts, D numbers a text, C = 256 channels, G side of the image embedding, W width of the head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.common import LayerNorm2d
from model.encoders import EMBED_DIM
from model.weights_folder import CARD_FILE, damaged, load_weights_folder, save_weights_folder

TEXT_HEAD_FOLDER = "text"  # in the folder of a model that has one
WEIGHTS_FILE = "head.safetensors"
_NORM_GROUPS = 8
_WORDS = "words"  # embeddings of the texts that it was trained on, beside its own weights

__all__ = [
    "CARD_FILE",
    "TEXT_HEAD_FOLDER",
    "SavedHead",
    "TextHead",
    "TextHeadConfig",
    "load_text_head",
    "save_text_head",
]


@dataclass(frozen=True)
class TextHeadConfig:
    """Size of a head. text_dim: D. width: W. dropout: of the channels of the image embedding, in training."""

    text_dim: int
    width: int = 128
    dropout: float = 0.1


class TextHead(nn.Module):
    """Says of every pixel of the image embedding how much it belongs to what a text says."""

    def __init__(self, config: TextHeadConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.first = nn.Sequential(LayerNorm2d(EMBED_DIM), nn.Dropout2d(config.dropout), nn.Conv2d(EMBED_DIM, width, 1))
        self.whole = nn.Linear(EMBED_DIM, width)
        self.second = nn.Sequential(
            nn.GroupNorm(_NORM_GROUPS, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.Conv2d(width, width, 1),
            nn.GroupNorm(_NORM_GROUPS, width),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
        )
        self.text = nn.Sequential(
            nn.Linear(config.text_dim, 2 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * width, width + 1),
        )
        self.presence = nn.Parameter(torch.tensor([1.0, 0.0]))

    def look(self, features: Tensor) -> Tensor:
        """What is compared with texts, of image embeddings (B, C, G, G): (B, W, G, G)."""
        seen = self.first(features) + self.whole(features.mean((2, 3)))[..., None, None]
        looked: Tensor = self.second(seen)
        return looked

    def forward(self, looked: Tensor, texts: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Logits (N, G, G) of texts (N, D) on pictures that were looked at, (B, W, G, G).

        counts: how many of the texts belong to each picture, in order; may be left out where B is 1.
        """
        wanted = self.text(texts)
        weights, bias = wanted[:, :-1] / self.config.width**0.5, wanted[:, -1]
        parts = zip(weights.split(list(counts or [len(texts)])), looked.flatten(2), strict=True)
        compared = torch.cat([weight @ pixels for weight, pixels in parts])
        return compared.unflatten(1, looked.shape[2:]) + bias[:, None, None]

    def is_there(self, logits: Tensor) -> Tensor:
        """Logits (N,) of the text being in the picture at all, of `forward`'s (N, G, G)."""
        return self.presence[0] * logits.flatten(1).amax(1) + self.presence[1]


@dataclass(frozen=True)
class SavedHead:
    """A head from the disk. words: the embedding (D,) of each text that it was trained on. card: what it comes from."""

    head: TextHead
    words: Mapping[str, Tensor]
    card: Mapping[str, Any]


def save_text_head(head: TextHead, words: Mapping[str, Tensor], folder: Path, card: Mapping[str, Any]) -> None:
    """Write a head as a folder that appears whole or not at all; one that is there already stays as it is.

    Weights are rounded to half precision. words and card: as in `SavedHead`.
    """
    weights = {name: value.half() for name, value in head.state_dict().items()}
    none = torch.zeros(0, head.config.text_dim)
    weights[_WORDS] = (torch.stack(list(words.values())) if words else none).half()
    own = {"head": asdict(head.config), _WORDS: list(words)}
    save_weights_folder(folder, WEIGHTS_FILE, weights, {**card, **own})


def load_text_head(folder: Path, *, device: torch.device | str = "cpu") -> SavedHead:
    """A head, ready for inference, in float32.

    Raises InputError naming the folder where a file is missing or damaged.
    """
    weights, card = load_weights_folder(folder, WEIGHTS_FILE, what="text head")
    try:
        words: Sequence[str] = card[_WORDS]
        embeddings = weights.pop(_WORDS).float()
        head = TextHead(TextHeadConfig(**card["head"]))
        head.load_state_dict({name: value.float() for name, value in weights.items()})
        known = dict(zip(words, embeddings, strict=True))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(folder, error, what="text head") from error
    return SavedHead(head.to(device).eval(), known, card)
