"""Where a verifier is sure: the scores from which on its answers have the stated precision."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.quality.gate_summary import wilson_share
from schemas.labeling import Verdict

# Of the interval whose lower bound must reach the precision: nine times in ten the precision is not below it. The share
# of right answers itself, with few of them, is highest where chance was kind: 100 answers gave .81 where .9 was stated.
_LEVEL = 0.8


@dataclass(frozen=True)
class SureFrom:
    """threshold: the least score of an answer that is sure, None where none is. masks, right: how many of the masks
    that it was chosen on are sure, and how many of these are answered right."""

    threshold: float | None
    masks: int
    right: int


@dataclass(frozen=True)
class VerifierThresholds:
    """good: on the score. bad: on 1 - score."""

    good: SureFrom
    bad: SureFrom

    def answer(self, score: float) -> Verdict | None:
        """What the verifier answers, None where it is not sure."""
        good = self.good.threshold is not None and score >= self.good.threshold
        bad = self.bad.threshold is not None and 1 - score >= self.bad.threshold
        if good and bad:  # both may hold where nearly all answers are alike
            return "good" if score >= 0.5 else "bad"
        return "good" if good else "bad" if bad else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def choose_thresholds(scores: npt.ArrayLike, good: npt.ArrayLike, *, precision: float) -> VerifierThresholds:
    """The thresholds of both answers for a stated precision.

    scores: (N,) in [0, 1], how likely each mask is good, by verifiers that learnt from none of its image. good: (N,)
    bool, what people said.
    """
    likely, accepted = np.asarray(scores, dtype=np.float64), np.asarray(good, dtype=bool)
    return VerifierThresholds(_sure_from(likely, accepted, precision), _sure_from(1 - likely, ~accepted, precision))


def _sure_from(scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], precision: float) -> SureFrom:
    """The lowest threshold above which the precision is not below the stated one.

    Where nearly all masks are good, to call all of them good is right often enough and finds nothing; so at most half
    as many answers may be wrong as then would be.
    """
    needed = max(precision, (1 + float(right.mean())) / 2) if len(right) else precision
    order = np.argsort(-scores, kind="stable")
    ranked, right_so_far = scores[order], right[order].cumsum()
    for end in range(len(ranked), 0, -1):
        # Masks of equal score pass together.
        if end < len(ranked) and ranked[end] == ranked[end - 1]:
            continue
        if wilson_share(int(right_so_far[end - 1]), end, level=_LEVEL).low >= needed:
            return SureFrom(float(ranked[end - 1]), end, int(right_so_far[end - 1]))
    return SureFrom(None, 0, 0)
