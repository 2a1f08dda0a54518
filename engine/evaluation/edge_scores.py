"""ODS, OIS, AP and R50 of edge maps, as the benchmark of BSDS500 counts them (Arbelaez et al., PAMI 2011)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.evaluation.edge_matching import match_edges
from engine.evaluation.thinning import thinned
from model.lanes import side_by_side

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
THRESHOLDS: Numbers = np.arange(1, 100) / 100
_BETWEEN = np.linspace(0, 1, 100)  # places between two thresholds where F is looked at
_DRAWS = 1000


@dataclass(frozen=True)
class EdgeCounts:
    """Pixels of a picture at each of the T thresholds, (T,) each.

    found, truth: ground-truth pixels with a partner, and all, summed over annotators. right, predicted: predicted
    pixels with a partner in any annotator's boundaries, and all.
    """

    found: Numbers
    truth: Numbers
    right: Numbers
    predicted: Numbers

    def __add__(self, other: "EdgeCounts") -> "EdgeCounts":
        return EdgeCounts(*(mine + others for mine, others in zip(_parts(self), _parts(other), strict=True)))

    def at(self, index: int) -> "EdgeCounts":
        """Those of one threshold."""
        return EdgeCounts(*(part[index : index + 1] for part in _parts(self)))

    @property
    def recall(self) -> Numbers:
        return self.found / np.maximum(self.truth, 1)

    @property
    def precision(self) -> Numbers:
        return self.right / np.maximum(self.predicted, 1)

    @property
    def f_measure(self) -> Numbers:
        return _f_measure(self.precision, self.recall)


@dataclass(frozen=True)
class EdgeScores:
    """ods: best F at one threshold for all pictures, with that threshold, precision and recall; low, high: its 95 %
    bootstrap interval over pictures. ois: F at the best threshold of each picture. ap: mean precision over recall.
    r50: recall at a precision of one half.
    """

    ods: float
    low: float
    high: float
    threshold: float
    precision: float
    recall: float
    ois: float
    ap: float
    r50: float

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def count_edges(edges: npt.NDArray[np.floating[Any]], truths: Sequence[Mask]) -> EdgeCounts:
    """Match an edge map (H, W) in [0, 1], at each threshold and thinned, with the boundaries of every annotator."""
    sizes = [int(np.count_nonzero(edges >= threshold)) for threshold in THRESHOLDS]
    distinct = dict(zip(sizes, THRESHOLDS, strict=True))

    def matched(threshold: float) -> tuple[int, int, int]:
        predicted = thinned(edges >= threshold)
        partners = [match_edges(predicted, truth, seed=whose) for whose, truth in enumerate(truths)]
        right = np.logical_or.reduce([of_predicted for of_predicted, _ in partners])
        return sum(int(of_truth.sum()) for _, of_truth in partners), int(right.sum()), int(predicted.sum())

    counts = dict(zip(distinct, side_by_side(matched, list(distinct.values())), strict=True))
    found, right, predicted = np.array([counts[size] for size in sizes], dtype=np.float64).T
    return EdgeCounts(found, np.full(len(THRESHOLDS), sum(int(truth.sum()) for truth in truths)), right, predicted)


def score_edges(counts: Sequence[EdgeCounts]) -> EdgeScores:
    """Scores of pictures, one or more."""
    whole = _total(counts)
    ods, threshold, precision, recall = _best(whole)
    low, high = _ods_interval(counts)
    best_of_each = _total([each.at(_last_best(each.f_measure)) for each in counts])
    ois = float(best_of_each.f_measure[0])
    return EdgeScores(ods, low, high, threshold, precision, recall, ois, _average_precision(whole), _r50(whole))


def ods_difference(first: Sequence[EdgeCounts], second: Sequence[EdgeCounts]) -> tuple[float, float]:
    """95 % bootstrap interval of how much better the ODS of the second is, on the same pictures."""
    drawn = [_ods_of_draws(counts) for counts in (first, second)]
    low, high = np.percentile(drawn[1] - drawn[0], [2.5, 97.5])
    return float(low), float(high)


def _total(counts: Sequence[EdgeCounts]) -> EdgeCounts:
    return EdgeCounts(*np.sum([_parts(each) for each in counts], axis=0))


def _parts(counts: EdgeCounts) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    return counts.found, counts.truth, counts.right, counts.predicted


def _f_measure(precision: Numbers, recall: Numbers) -> Numbers:
    together = precision + recall
    return np.divide(2 * precision * recall, together, out=np.zeros_like(together), where=together > 0)


def _best(counts: EdgeCounts) -> tuple[float, float, float, float]:
    """F, threshold, precision and recall where F is best; between two thresholds precision and recall are linear."""
    threshold, precision, recall = (_filled(part) for part in (THRESHOLDS, counts.precision, counts.recall))
    f_measure = _f_measure(precision, recall)
    best = int(f_measure.argmax())
    return float(f_measure[best]), float(threshold[best]), float(precision[best]), float(recall[best])


def _filled(values: Numbers) -> Numbers:
    """Values at thresholds and between them, the last axis T times as long."""
    before, after = values[..., :-1, None], values[..., 1:, None]
    return (before + (after - before) * _BETWEEN).reshape(*values.shape[:-1], -1)


def _last_best(f_measure: Numbers) -> int:
    return len(f_measure) - 1 - int(f_measure[::-1].argmax())


def _average_precision(counts: EdgeCounts) -> float:
    """Mean of the precision at recalls of 0, 1, ..., 100 %, 0 at those that are not reached."""
    recall, first = np.unique(counts.recall, return_index=True)
    if len(recall) < 2:
        return 0.0
    at = np.interp(np.arange(101) / 100, recall, counts.precision[first], left=0, right=0)
    return float(at.sum() / 100)


def _r50(counts: EdgeCounts) -> float:
    precision, first = np.unique(counts.precision, return_index=True)
    if precision[-1] < 0.5:
        return 0.0
    return float(np.interp(max(precision[0], 0.5), precision, counts.recall[first]))


def _ods_interval(counts: Sequence[EdgeCounts]) -> tuple[float, float]:
    low, high = np.percentile(_ods_of_draws(counts), [2.5, 97.5])
    return float(low), float(high)


def _ods_of_draws(counts: Sequence[EdgeCounts]) -> Numbers:
    """ODS of as many pictures drawn with replacement, _DRAWS times; at the thresholds alone, not between them."""
    often = np.random.default_rng(0).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=_DRAWS)
    drawn = EdgeCounts(*(often @ np.array(parts) for parts in zip(*map(_parts, counts), strict=True)))
    best: Numbers = drawn.f_measure.max(axis=1)
    return best
