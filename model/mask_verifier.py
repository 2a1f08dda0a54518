"""A verifier: how likely people call a mask good, learnt from what they said of others (SAM 3 paper, section 4).

A logistic regression on the features of `model.mask_features`: its best solution is the only one, so equal answers give
equal weights, and a few hundred answers are learnt in a second.

Shapes: N masks, D features.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.weights_folder import damaged, load_weights_folder, save_weights_folder
from schemas.errors import InputError

WEIGHTS_FILE = "verifier.safetensors"
FOLDS = 5
_DECAY = 10.0  # of the squared weights, beside the sum of the losses
_CLIP = 5.0  # standard deviations: a mask that is odd in one way is not decided by that alone
_STEPS = 100
_LEAST_STD = 1e-6


class MaskVerifier(nn.Module):
    """mean, std, weight: (D,) of the features that it learnt from. bias: (1,)."""

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        for name, size in (("mean", features), ("std", features), ("weight", features), ("bias", 1)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """(N,) float64 in [0, 1] for features (N, D): how likely people call each mask good.

        Raises InputError where the features are of another kind of model.
        """
        if features.shape[1] != len(self.weight):
            raise InputError(f"the verifier learnt {len(self.weight)} features, these masks have {features.shape[1]}")
        return (_standard(features.double(), self.mean, self.std) @ self.weight + self.bias).sigmoid()


def fit_verifier(features: Tensor, good: Tensor) -> MaskVerifier:
    """Learn from N answers. features: (N, D). good: (N,) bool."""
    verifier = MaskVerifier(features.shape[1])
    verifier.mean = features.double().mean(dim=0)
    verifier.std = features.double().std(dim=0, unbiased=False).clamp(min=_LEAST_STD)
    inputs, answers = _standard(features.double(), verifier.mean, verifier.std), good.double()
    weight = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        wrong = F.binary_cross_entropy_with_logits(inputs @ weight + bias, answers, reduction="sum")
        total = wrong + _DECAY / 2 * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    verifier.weight, verifier.bias = weight.detach(), bias.detach()
    return verifier


def out_of_fold_scores(features: Tensor, good: Tensor, image_ids: np.ndarray, *, seed: int) -> Tensor:
    """(N,) float64: what a verifier says of each mask that learnt from none of its image.

    image_ids: (N,). seed: of the shares into which the images are split.
    """
    ids, which = np.unique(image_ids, return_inverse=True)
    folds = torch.from_numpy((np.random.default_rng(seed).permutation(len(ids)) % FOLDS)[which])
    scores = torch.zeros(len(good), dtype=torch.float64)
    for fold in range(FOLDS):
        here = folds == fold
        if here.any() and not here.all():
            scores[here] = fit_verifier(features[~here], good[~here])(features[here])
    return scores


def save_verifier(verifier: MaskVerifier, folder: Path, card: Mapping[str, Any]) -> None:
    """Write a verifier as a folder that appears whole or not at all; one that is there already stays as it is.

    card: where it comes from and what was measured, plain values for JSON.
    """
    save_weights_folder(folder, WEIGHTS_FILE, verifier.state_dict(), card)


def load_verifier(folder: Path) -> tuple[MaskVerifier, dict[str, Any]]:
    """A verifier and its card. Raises InputError naming the folder where a file is missing or damaged."""
    weights, card = load_weights_folder(folder, WEIGHTS_FILE, what="verifier")
    try:
        verifier = MaskVerifier(len(weights["weight"]))
        verifier.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise damaged(folder, error, what="verifier") from error
    return verifier, card


def _standard(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return ((features - mean) / std).clamp(-_CLIP, _CLIP)
