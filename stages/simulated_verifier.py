"""A person at the verification gate, simulated from ground truth: for benchmarks, which say so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine import rle as rle_codec
from engine.evaluation.matching import MATCH_IOU
from engine.keys import content_key
from schemas.labeling import Verdict
from schemas.rle import Rle


@dataclass(frozen=True)
class SimulatedVerifier:
    """Calls a mask good from `accept_iou` with an object on, bad where it shows one less well, else rejects it.

    error_frac: of the masks, drawn by `seed` and the mask itself, that are answered wrongly: good ones are called bad,
    others good. A mask gets the same answer whenever it is asked about.
    """

    accept_iou: float
    error_frac: float = 0.0
    seed: int = 0

    def answers(self, masks: Sequence[Rle], truth: Sequence[Rle]) -> list[Verdict]:
        """What is said of masks of one picture, whose objects are `truth`."""
        overlaps = rle_codec.iou_matrix(masks, truth)
        best = overlaps.max(axis=1) if len(truth) else np.zeros(len(masks))
        return [self._answer(mask, iou) for mask, iou in zip(masks, best.tolist(), strict=True)]

    def _answer(self, mask: Rle, iou: float) -> Verdict:
        drawn = int(content_key("simulated verifier", self.seed, tuple(mask)), 16) / 2**63
        good = iou >= self.accept_iou
        if drawn < self.error_frac:
            return "bad" if good else "good"
        return "good" if good else "bad" if iou >= MATCH_IOU else "reject"
