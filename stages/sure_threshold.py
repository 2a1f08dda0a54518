"""The lowest score at which a stated precision is sure: it holds for new masks, not just for those it was chosen on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.quality.gate_summary import wilson_share

# Of the interval whose lower bound must reach the precision: nine times in ten the precision is not below it. The share
# of right answers itself, with few of them, is highest where chance was kind: 100 answers gave .81 where .9 was stated,
# and a single right mask would do for any precision.
_LEVEL = 0.8


@dataclass(frozen=True)
class SureFrom:
    """threshold: the least score that is sure, None where none is. masks, right: how many of the masks that it was
    chosen on have that score or a higher one, and how many of these are right."""

    threshold: float | None
    masks: int
    right: int


def sure_from(scores: npt.ArrayLike, right: npt.ArrayLike, *, precision: float) -> SureFrom:
    """The lowest of N scores at and above which the share of right masks is surely not below `precision`.

    scores, right: (N,). Of precision .8 seven masks tell, where all are right; of .9 fifteen; 44 of 50 tell .8.
    """
    values, hits = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    order = np.argsort(-values, kind="stable")
    ranked, right_so_far = values[order], hits[order].cumsum()
    for end in range(len(ranked), 0, -1):
        # Masks of equal score pass together.
        if end < len(ranked) and ranked[end] == ranked[end - 1]:
            continue
        if wilson_share(int(right_so_far[end - 1]), end, level=_LEVEL).low >= precision:
            return SureFrom(float(ranked[end - 1]), end, int(right_so_far[end - 1]))
    return SureFrom(None, 0, 0)
