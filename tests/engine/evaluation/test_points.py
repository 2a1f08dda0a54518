"""Clicks placed by hand-checked rules, and scores of models whose answers are known."""

import numpy as np
import pytest

from engine.evaluation.bootstrap import bootstrap_mean
from engine.evaluation.points import centre_point, evaluate_points, next_click, random_point
from model.predictor import Predictor
from model.training.samples import Sample
from tests.engine.evaluation.fakes import ThreeHalves, coco_rle, rectangle


def test_the_centre_is_farthest_from_the_boundary_and_the_picture_edge_counts_as_one() -> None:
    assert centre_point(rectangle(slice(10, 21), slice(30, 41))) == (35, 15)
    assert centre_point(rectangle(slice(0, 11), slice(0, 11))) == (5, 5)
    with pytest.raises(ValueError, match="empty region"):
        centre_point(np.zeros((4, 4), dtype=bool))


def test_the_next_click_goes_to_the_largest_error_and_knows_its_kind() -> None:
    truth = rectangle(slice(10, 40), slice(10, 40))
    missed = rectangle(slice(10, 40), slice(10, 20))
    assert next_click(truth, truth & ~missed) == ((14, 14), 1) or next_click(truth, truth & ~missed)[1] == 1
    spilled = rectangle(slice(41, 62), slice(41, 62))
    assert next_click(truth, truth | spilled) == ((51, 51), 0)
    assert next_click(truth, truth) == (centre_point(truth), 1)


def test_confident_is_the_models_choice_and_oracle_the_best() -> None:
    encoded = coco_rle(rectangle(slice(16, 48), slice(16, 48)))
    sample = Sample(np.zeros((64, 64, 3), np.uint8), [encoded, encoded])
    scores = evaluate_points(Predictor(ThreeHalves()), [sample], clicks=(1, 2))
    assert scores[1].confident_miou == pytest.approx(0.5, abs=0.05)
    assert scores[1].oracle_miou > 0.9
    assert scores[1].predicted_iou_error == pytest.approx(0.4, abs=0.05)
    assert len(scores[1].confident) == 2
    assert scores[2].confident_miou == scores[2].oracle_miou > 0.9


def test_random_points_are_evenly_spread_over_the_region_and_the_same_for_a_seed() -> None:
    region = rectangle(slice(10, 12), slice(20, 25))
    choose, again = random_point(3), random_point(3)
    points = [choose(region) for _ in range(5_000)]
    assert points == [again(region) for _ in range(5_000)]
    _, counts = np.unique(points, axis=0, return_counts=True)
    assert (len(counts), set(points)) == (10, {(x, y) for x in range(20, 25) for y in (10, 11)})
    assert (np.abs(counts - 500) < 100).all()  # more than four standard deviations
    with pytest.raises(ValueError, match="empty region"):
        choose(np.zeros((4, 4), dtype=bool))


def test_every_click_goes_where_it_is_chosen() -> None:
    encoded = coco_rle(rectangle(slice(16, 48), slice(16, 48)))
    regions: list[np.ndarray] = []

    def corner(region: np.ndarray) -> tuple[int, int]:
        regions.append(region)
        row, column = np.argwhere(region)[0]
        return int(column), int(row)

    sample = Sample(np.zeros((64, 64, 3), np.uint8), [encoded])
    evaluate_points(Predictor(ThreeHalves()), [sample], clicks=(2,), choose=corner)
    assert [int(region.sum()) > 0 for region in regions] == [True, True]
    np.testing.assert_array_equal(regions[0], rectangle(slice(16, 48), slice(16, 48)))
    assert regions[1].sum() < regions[0].sum()  # what the first answer missed or spilled


def test_samples_without_masks_give_no_scores() -> None:
    assert evaluate_points(Predictor(ThreeHalves()), [Sample(np.zeros((8, 8, 3), np.uint8), [])]) == {}


def test_bootstrap_interval_holds_the_mean_and_shrinks_with_more_values() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.random(40), rng.random(4000)
    low, high = bootstrap_mean(few)
    assert low < few.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * few.std() / np.sqrt(40), rel=0.15)
    narrow = bootstrap_mean(many)
    assert narrow[1] - narrow[0] < (high - low) / 5
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean(np.array([]))


def test_bootstrap_draws_as_many_values_as_there_are_with_replacement() -> None:
    values = np.random.default_rng(3).random(91)
    rng = np.random.default_rng(7)
    means = [values[rng.integers(91, size=91)].mean() for _ in range(500)]
    expected = np.quantile(means, [0.05, 0.95])
    assert bootstrap_mean(values, level=0.9, draws=500, seed=7) == pytest.approx(tuple(expected))
    assert bootstrap_mean(values[:1]) == (values[0], values[0])
