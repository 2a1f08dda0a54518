"""Training a text head on the embeddings of a frozen model: each picture is encoded once.

Shapes: K texts that a picture shows, V texts over all, T wordings of each, D numbers a text, N pairs of picture and
text, C = 256 channels, G side of the image embedding, F = 2 G side of what is learned.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.predictor import Predictor
from model.text_head import TextHead, TextHeadConfig
from model.training.regions import coverage

OnStep = Callable[[int, int, float], None]
_FINER = 2  # than the image embedding


class TextSample(NamedTuple):
    """A picture that was encoded, with where each text is in it.

    features: (C, G, G) float16. shown: rows and columns of F x F that show the picture; the others are padding.
    present: (K,) rows of the texts; covered: (K, F, F) uint8, how much of each pixel is theirs, of 255.
    absent: rows of texts that are surely not in it.
    """

    features: Tensor
    shown: tuple[int, int]
    present: Tensor
    covered: Tensor
    absent: Tensor


@dataclass(frozen=True)
class TextTraining:
    """Everything that a training follows from beside its samples.

    passes: over all pictures. batch_size: pictures a step. absent_texts: of a picture, drawn anew each time.
    """

    seed: int = 0
    passes: int = 12
    batch_size: int = 8
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    absent_texts: int = 8
    width: int = 128
    dropout: float = 0.1


def encode_text_sample(
    predictor: Predictor,
    image: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    *,
    present: Sequence[int],
    absent: Sequence[int],
) -> TextSample:
    """A picture (H, W, 3) uint8 RGB as it is learned from. masks: (h, w) each, where the texts `present` are."""
    predictor.set_image(image)
    features = predictor.get_image_embedding()[0].half().cpu()
    side = _FINER * features.shape[-1]
    height, width = predictor.input_hw
    square = np.zeros((len(masks), predictor.sam.image_size, predictor.sam.image_size), dtype=np.float32)
    for row, mask in enumerate(masks):
        square[row, :height, :width] = cv2.resize(
            mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
        )
    covered = (coverage(torch.from_numpy(square), (side, side)) * 255).round().to(torch.uint8)
    scale = side / predictor.sam.image_size
    shown = math.ceil(height * scale), math.ceil(width * scale)
    return TextSample(features, shown, torch.tensor(present), covered, torch.tensor(absent, dtype=torch.int64))


def train_text_head(
    samples: Sequence[TextSample],
    embeddings: Tensor,
    training: TextTraining,
    *,
    device: torch.device | str = "cpu",
    on_step: OnStep | None = None,
) -> TextHead:
    """A head that finds texts, of which embeddings (V, T, D) gives T wordings each.

    on_step: called with the steps done, their total and the loss.
    """
    generator = torch.Generator().manual_seed(training.seed)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        head = TextHead(TextHeadConfig(embeddings.shape[-1], training.width, training.dropout)).to(device).train()
        optimizer = torch.optim.AdamW(_groups(head, training), lr=training.lr, weight_decay=training.weight_decay)
        steps = training.passes * math.ceil(len(samples) / training.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, training.warmup_steps))
        for step, rows in enumerate(_batches(len(samples), training, generator), start=1):
            batch = _Batch.of([samples[row] for row in rows], embeddings, training.absent_texts, generator)
            loss = _loss(head, batch.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if on_step is not None:
                on_step(step, steps, float(loss.detach()))
    return head.eval()


def _groups(head: TextHead, training: TextTraining) -> list[dict[str, Any]]:
    """Two numbers alone say whether a text is there: they have a long way to go, and no weight to lose."""
    others = [parameter for name, parameter in head.named_parameters() if name != "presence"]
    return [{"params": others}, {"params": [head.presence], "lr": 30 * training.lr, "weight_decay": 0.0}]


def _rate(step: int, steps: int, warmup: int) -> float:
    """Linear at first, then down along a cosine to nothing."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _batches(count: int, training: TextTraining, generator: torch.Generator) -> Iterator[list[int]]:
    for _ in range(training.passes):
        order = torch.randperm(count, generator=generator).tolist()
        yield from (order[at : at + training.batch_size] for at in range(0, count, training.batch_size))


class _Batch(NamedTuple):
    """features: (B, C, G, G). counts: (B,) texts of each picture. texts: (N, D). covered: (N, F, F) in [0, 1].

    there: (N,) bool. shown: (N, F, F) bool.
    """

    features: Tensor
    counts: Tensor
    texts: Tensor
    covered: Tensor
    there: Tensor
    shown: Tensor

    @classmethod
    def of(
        cls, samples: Sequence[TextSample], embeddings: Tensor, absent_texts: int, generator: torch.Generator
    ) -> "_Batch":
        texts, covered, there, shown, counts = [], [], [], [], []
        for sample in samples:
            absent = sample.absent[torch.randperm(len(sample.absent), generator=generator)[:absent_texts]]
            rows = torch.cat([sample.present, absent])
            wording = torch.randint(embeddings.shape[1], (len(rows),), generator=generator)
            texts.append(embeddings[rows, wording])
            side = sample.covered.shape[-1]
            covered.append(torch.cat([sample.covered.float() / 255, torch.zeros(len(absent), side, side)]))
            there.append(torch.arange(len(rows)) < len(sample.present))
            shown.append(_shown(sample.shown, side).expand(len(rows), -1, -1))
            counts.append(len(rows))
        features = torch.stack([sample.features for sample in samples]).float()
        return cls(
            features, torch.tensor(counts), torch.cat(texts), torch.cat(covered), torch.cat(there), torch.cat(shown)
        )

    def to(self, device: torch.device | str) -> "_Batch":
        return _Batch(*(part.to(device) for part in self))


def _shown(hw: tuple[int, int], side: int) -> Tensor:
    shown = torch.zeros(side, side, dtype=torch.bool)
    shown[: hw[0], : hw[1]] = True
    return shown


def _loss(head: TextHead, batch: _Batch) -> Tensor:
    """Cross-entropy of pixels, dice of the texts that are there, and cross-entropy of a text being there at all."""
    looked = head.look(batch.features)
    coarse = head(looked, batch.texts, batch.counts.tolist())
    logits = F.interpolate(coarse[:, None], scale_factor=_FINER, mode="bilinear", align_corners=False)[:, 0]
    shown = batch.shown.float()
    pixels = F.binary_cross_entropy_with_logits(logits, batch.covered, weight=shown, reduction="sum") / shown.sum()
    dice = _dice(logits[batch.there], batch.covered[batch.there], shown[batch.there])
    there = F.binary_cross_entropy_with_logits(head.is_there(coarse.detach()), batch.there.float())
    return 5 * pixels + dice + 0.2 * there


def _dice(logits: Tensor, covered: Tensor, shown: Tensor) -> Tensor:
    found = logits.sigmoid() * shown
    overlap = 2 * (found * covered).flatten(1).sum(1)
    return (1 - (overlap + 1) / (found.flatten(1).sum(1) + covered.flatten(1).sum(1) + 1)).mean()
