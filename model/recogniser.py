"""Which pictures are of a new kind: a line between descriptions of those that a model knows and of those that are new.

Shapes: B pictures, S side of the square input in pixels; a description is (C,), C = 256.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.encoders import EMBED_DIM, EMBEDDING_STRIDE

if TYPE_CHECKING:
    from model.sam import Sam

_MOST_TAKEN = 0.02  # share of the known pictures that may be taken for new ones
_SHRINKAGE = 0.1  # of the covariance towards equal variances: there may be fewer descriptions than channels
_LEAST = 1e-6  # of a deviation that is divided by


class Recogniser(nn.Module):
    """Linear discriminant between pictures of known and of new kinds: `new` where weight · description + bias > 0."""

    weight: Tensor
    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(EMBED_DIM))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, descriptions: Tensor) -> Tensor:
        """(B, C) descriptions to (B,) bool: whether each picture is of a new kind."""
        return (descriptions * self.weight).sum(-1) + self.bias > 0


def fit_recogniser(known: Tensor, new: Tensor) -> Recogniser:
    """The line half way between the two means, by their common covariance (Fisher's linear discriminant).

    It lies nearer to the new pictures where more than _MOST_TAKEN of the known ones would be taken for new.
    known: (K, C) descriptions, new: (N, C), both by `describe` of one model. Raises ValueError where either is empty.
    """
    if not len(known) or not len(new):
        raise ValueError(f"descriptions of both kinds are needed, found {len(known)} known and {len(new)} new ones")
    known, new = known.double(), new.double()
    centre, deviation = known.mean(0), known.std(0, correction=0).clamp(min=_LEAST)
    known, new = (known - centre) / deviation, (new - centre) / deviation
    means = known.mean(0), new.mean(0)
    apart = torch.cat([known - means[0], new - means[1]])
    covariance = apart.T @ apart / len(apart)
    equal = torch.eye(len(centre), dtype=torch.float64) * covariance.diagonal().mean().clamp(min=_LEAST)
    weight = torch.linalg.solve((1 - _SHRINKAGE) * covariance + _SHRINKAGE * equal, means[1] - means[0])
    weight /= (weight @ (means[1] - means[0])).clamp(min=_LEAST)  # from -1/2 at the one mean to 1/2 at the other
    recogniser = Recogniser()
    recogniser.weight.copy_(weight / deviation)
    middle = max(float(weight @ (means[0] + means[1])) / 2, float((known @ weight).quantile(1 - _MOST_TAKEN)))
    recogniser.bias.copy_(-middle - (weight / deviation) @ centre)
    return recogniser


def count_recognised(known: Tensor, new: Tensor) -> int:
    """How many of the new pictures are told from the known ones by a line that was drawn without them.

    Each half of `new` (N, C) by the line to the other half; 0 where there are under two of them.
    """
    if len(new) < 2:
        return 0
    halves = new[::2], new[1::2]
    return sum(int(fit_recogniser(known, one)(other).sum()) for one, other in (halves, halves[::-1]))


@torch.no_grad()
def describe(sam: "Sam", pixels: Tensor) -> Tensor:
    """What pictures look like as a whole: the mean of their image embedding over the part that shows them, (B, C).

    pixels: (B, 3, S, S), normalised, zeros on padding. An encoder whose weights do not depend on S sees them at half
    the size, which takes a quarter of the time. Of a model that remembers others the innermost describes: a
    description means the same whoever learned what since. It is in float32 whatever the rest runs in.
    """
    encoder = innermost(sam).image_encoder
    described = []
    for picture in pixels.split(1):
        shown = _without_padding(picture)
        multiple = encoder.side_multiple_px
        if multiple is not None:
            half_hw = (max(1, shown.shape[-2] // 2), max(1, shown.shape[-1] // 2))
            shown = F.adaptive_avg_pool2d(shown, half_hw)
            picture = F.pad(shown, (0, -half_hw[1] % multiple, 0, -half_hw[0] % multiple))
        height, width = (-(-side // EMBEDDING_STRIDE) for side in shown.shape[-2:])
        with torch.autocast(picture.device.type, enabled=False):
            features = encoder(picture).features
        described.append(features[..., :height, :width].mean((-2, -1)))
    return torch.cat(described)


def innermost(sam: "Sam") -> "Sam":
    """Of a model that remembers others the one that remembers none; any other model itself."""
    while (inner := getattr(sam, "remembered", None)) is not None:
        sam = inner
    return sam


def _without_padding(picture: Tensor) -> Tensor:
    """(1, 3, S, S) to the part (1, 3, h, w) from the top left that is not all zeros; as it is where all of it is."""
    there = (picture != 0).any(1)[0]
    if not bool(there.any()):
        return picture
    height, width = (int(there.any(axis).nonzero().max()) + 1 for axis in (1, 0))
    return picture[..., :height, :width]
