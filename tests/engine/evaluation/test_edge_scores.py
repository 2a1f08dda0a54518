"""ODS, OIS, AP and R50, worked out by hand, and beside the peer where it is installed."""

from pathlib import Path

import numpy as np
import pytest

from engine.evaluation.edge_maps import canny_edges
from engine.evaluation.edge_scores import THRESHOLDS, EdgeCounts, count_edges, ods_difference, score_edges
from engine.evaluation.partitions import annotated_boundaries
from engine.samples import CocoSamples

TRUTH = np.zeros((40, 60), dtype=bool)
TRUTH[20, 10:30] = True
OTHER = np.zeros((40, 60), dtype=bool)
OTHER[20, 10:50] = True
EVERY = 8  # of the thresholds; the peer takes minutes for all of them on one photograph


def counts(found: object, truth: float, right: object, predicted: object) -> EdgeCounts:
    """Of all thresholds, from numbers or functions of the threshold."""
    ones = np.ones(len(THRESHOLDS))
    return EdgeCounts(*(np.asarray(part) * ones for part in (found, truth, right, predicted)))


def test_counts_by_hand() -> None:
    """A line of 40 px, half as strong on its right half: one person drew the left half, the other all of it."""
    edges = np.zeros((40, 60), dtype=np.float32)
    edges[20, 10:30], edges[20, 30:50] = 1.0, 0.5
    found = count_edges(edges, [TRUTH, OTHER])
    low, high = 0, len(THRESHOLDS) - 1  # .01 and .99
    assert (found.found[low], found.truth[low], found.right[low], found.predicted[low]) == (20 + 40, 60, 40, 40)
    assert (found.found[high], found.truth[high], found.right[high], found.predicted[high]) == (20 + 20, 60, 20, 20)
    assert found.predicted[49] == 40, ".5 is kept at .50"
    assert found.predicted[50] == 20


def test_what_nobody_drew_is_wrong() -> None:
    edges = np.zeros((40, 60), dtype=np.float32)
    edges[20, 10:30] = edges[5, 10:30] = 1.0
    found = count_edges(edges, [TRUTH])
    assert set(found.right) == {20}
    assert set(found.predicted) == {40}
    scores = score_edges([found])
    assert scores.precision == 0.5
    assert scores.recall == 1
    assert scores.ods == scores.ois == pytest.approx(2 / 3)
    assert scores.r50 == 1


def test_thick_lines_are_thinned_before_they_are_counted() -> None:
    edges = np.zeros((40, 60), dtype=np.float32)
    edges[19:22, 10:30] = 1.0
    found = count_edges(edges, [TRUTH])
    assert found.predicted[0] <= 20
    assert score_edges([found]).precision == 1


def test_no_edges_at_all_score_nothing() -> None:
    scores = score_edges([count_edges(np.zeros((40, 60), dtype=np.float32), [TRUTH])])
    assert (scores.ods, scores.ois, scores.ap, scores.r50) == (0, 0, 0, 0)


def test_ois_chooses_a_threshold_for_each_picture() -> None:
    """One picture is perfect up to .5 and finds nothing above; the other is half wrong up to .5 and perfect above."""
    below = THRESHOLDS <= 0.5
    first = counts(100 * below, 100, 100 * below, 100 * below)
    second = counts(100, 100, 100, np.where(below, 300, 100))
    scores = score_edges([first, second])
    assert scores.ois == 1
    # All at .5: recall 1, precision 200 / 400. Above: recall 100 / 200, precision 1. Both F 2/3; halfway recall .75 and
    # precision .75: F .75, at one of the hundred places in between.
    assert scores.ods == pytest.approx(0.75, abs=1e-3)
    assert scores.threshold == pytest.approx(0.505, abs=1e-3)
    assert scores.low <= 0.75 <= scores.high


def test_average_precision_is_the_area_below_the_curve() -> None:
    """Precision falls from 1 to .5 as recall grows from 0 to 1, on a straight line."""
    recall = 1 - (THRESHOLDS - 0.01) / 0.98
    precision = 1 - recall / 2
    scores = score_edges([counts(1000 * recall, 1000, 1000 * precision, 1000)])
    assert scores.ap == pytest.approx(0.75, abs=0.01)
    assert scores.r50 == pytest.approx(1)
    assert scores.ods == pytest.approx(12 - 8 * 2**0.5, abs=1e-4), "at a recall of twice the root of two less 2"


def test_recall_at_a_precision_of_one_half() -> None:
    precision = np.linspace(0.2, 0.8, 99)
    recall = np.linspace(0.9, 0.3, 99)
    assert score_edges([counts(100 * recall, 100, 100 * precision, 100)]).r50 == pytest.approx(0.6)
    assert score_edges([counts(100 * recall, 100, 40 * precision, 100)]).r50 == 0


def test_counts_add_up_and_a_better_detector_is_better_for_sure() -> None:
    good, bad = counts(90, 100, 90, 100), counts(20, 100, 20, 100)
    assert (good + bad).recall[0] == pytest.approx(0.55)
    low, high = ods_difference([bad] * 5, [good] * 5)
    assert low == high == pytest.approx(0.7)
    low, high = ods_difference([good, bad, bad], [bad, good, good])
    assert low < 0 < high


def test_equal_to_the_peer_on_random_lines() -> None:
    """The benchmark's own code leaves pixels alone by a random few of the ways there are, so it misses some pairs."""
    edges, truths = _scribbles(0), [_scribbles(seed) > 0.4 for seed in (1, 2)]
    found, wanted = coarse(count_edges(edges, truths)), peer_counts(edges, truths)
    np.testing.assert_array_equal(found.truth, wanted.truth)
    np.testing.assert_array_equal(found.predicted, wanted.predicted)
    for ours, theirs in ((found.found, wanted.found), (found.right, wanted.right)):
        assert (ours >= theirs - 2).all()
        assert (ours - theirs).mean() < 0.01 * theirs.mean()


@pytest.mark.slow
def test_scores_of_ten_photographs_are_those_of_the_peer(shared_data: Path) -> None:
    samples = CocoSamples([shared_data / "bsds500" / "val.json"])
    pairs = []
    for index in range(10):
        edges, truths = canny_edges(samples[index].image), annotated_boundaries(samples[index])
        pairs.append((coarse(count_edges(edges, truths)), peer_counts(edges, truths)))
    ours, theirs = (score_edges(counts) for counts in zip(*pairs, strict=True))
    for name in ("ods", "ois", "ap", "r50"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=0.002), name


def peer_counts(edges: np.ndarray, truths: list[np.ndarray]) -> EdgeCounts:
    """By pyEdgeEval, which runs the benchmark's own code; it has to be compiled, so that only some have it."""
    peer = pytest.importorskip("pyEdgeEval.common.binary_label.evaluate_boundaries")
    counted = peer.evaluate_boundaries_threshold_multiple_gts(THRESHOLDS[::EVERY], edges, truths)
    found, truth, right, predicted = (np.repeat(part, EVERY)[: len(THRESHOLDS)] for part in counted)
    return EdgeCounts(found, truth, right, predicted)


def coarse(counts: EdgeCounts) -> EdgeCounts:
    """At every eighth threshold alone, each in place of the seven after it."""
    parts = (counts.found, counts.truth, counts.right, counts.predicted)
    return EdgeCounts(*(np.repeat(part[::EVERY], EVERY)[: len(THRESHOLDS)] for part in parts))


def _scribbles(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    edges = np.zeros((80, 100), dtype=np.float32)
    for row in range(10, 75, 12):
        wave = row + np.rint(3 * np.sin(np.arange(100) / rng.uniform(4, 12))).astype(int)
        edges[wave, np.arange(100)] = rng.uniform(0.3, 1, 100).astype(np.float32)
    return edges
