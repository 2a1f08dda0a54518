"""How much each weight matters for some pictures, so that what is known moves less than what has to be learned.

The importance of a weight is its mean squared gradient (the diagonal of the Fisher information, as in EWC, arXiv
1612.00796), divided by the mean over all weights. A weight of importance g for new pictures and k for known ones goes
the share g / (g + caution * k) of its way (as in Fisher merging, arXiv 2111.09832).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Importance = Mapping[str, Tensor]
_LEAST = 1e-12  # of a sum of importances


def normalised(squares: Importance) -> dict[str, Tensor]:
    """Divided by the mean over all weights of all tensors; as they are where that is 0."""
    count = sum(value.numel() for value in squares.values())
    total = sum(float(value.double().sum()) for value in squares.values())
    return {name: value * (count / total) if total > 0 else value.clone() for name, value in squares.items()}


@dataclass(frozen=True)
class Importances:
    """Of the weights of one model, by name and in their shapes: for new pictures and for known ones."""

    new: Importance
    known: Importance

    def shares(self, caution: float) -> dict[str, Tensor]:
        """Which share of its way each weight of `new` goes, from 0 to 1; all of it where `known` says nothing of it."""
        return {name: self._share(name, value, caution) for name, value in self.new.items()}

    def _share(self, name: str, new: Tensor, caution: float) -> Tensor:
        if name not in self.known:
            return new.new_ones(new.shape)
        return new / (new + caution * self.known[name].to(new.device)).clamp(min=_LEAST)
