"""Where a verifier is sure: the scores from which on its answers have the stated precision."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.labeling import Verdict
from stages.sure_threshold import SureFrom, sure_from


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
    """Where one answer is sure.

    Where nearly all masks are good, to call all of them good is right often enough and finds nothing; so at most half
    as many answers may be wrong as then would be.
    """
    needed = max(precision, (1 + float(right.mean())) / 2) if len(right) else precision
    return sure_from(scores, right, precision=needed)
