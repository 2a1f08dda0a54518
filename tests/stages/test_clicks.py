import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.evaluation.scores import mask_iou
from stages.clicks import Clicked, click_until, logits_of_mask, sample_click
from tests.stages.fakes import RegionPredictor

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(MASKS, st.data())
def test_a_click_lies_in_the_error_region_and_says_its_kind(target: np.ndarray, data: st.DataObject) -> None:
    prediction = data.draw(hnp.arrays(bool, target.shape))
    click = sample_click(target, prediction, np.random.default_rng(data.draw(st.integers(0, 99))))
    if (target == prediction).all():
        assert click is None
        return
    assert click is not None
    x, y, label = click
    assert target[int(y), int(x)] != prediction[int(y), int(x)]
    assert label == int(target[int(y), int(x)])


def test_first_clicks_are_uniform_in_the_mask() -> None:
    target = np.zeros((4, 6), dtype=bool)
    target[1, 1:5] = True
    rng = np.random.default_rng(0)
    clicks = [sample_click(target, np.zeros_like(target), rng) for _ in range(4000)]
    counts = np.bincount([int(click[0]) for click in clicks if click], minlength=6)
    assert counts[[0, 5]].sum() == 0
    # Expected 1000 each with a standard deviation of 27.
    assert np.abs(counts[1:5] - 1000).max() < 110


def two_regions() -> np.ndarray:
    labels = np.zeros((20, 20), dtype=int)
    labels[5:15, 5:10] = 1
    labels[5:15, 10:15] = 2
    return labels


def test_one_point_gets_three_masks_and_the_logits_of_the_most_confident_are_fed_back() -> None:
    labels = two_regions()
    predictor = RegionPredictor(labels)
    clicked = click_until(predictor, labels > 0, rng=np.random.default_rng(0), max_clicks=9, accept_iou=0.9)
    first, second = predictor.calls
    assert first["multimask"] is True
    assert first["mask_input"] is None
    assert second["multimask"] is False
    assert np.all(second["mask_input"] == np.float32(1.2)), "logits of the second of three masks, the most confident"
    assert clicked.clicks == 2
    assert mask_iou(clicked.mask, labels > 0) == 1
    assert [label for _, _, label in clicked.points] == [1, 1]
    assert clicked.predicted_iou == pytest.approx(0.9)


def test_a_spill_is_clicked_away() -> None:
    labels = two_regions()
    predictor = RegionPredictor(labels)
    start = Clicked(mask=labels > 0, points=[(6.0, 6.0, 1), (12.0, 6.0, 1)], logits=np.zeros((1, 8, 8), np.float32))
    clicked = click_until(
        predictor, labels == 1, rng=np.random.default_rng(0), max_clicks=9, accept_iou=0.9, start=start
    )
    assert clicked.clicks == 1
    assert clicked.points[-1][2] == 0
    assert predictor.calls[0]["multimask"] is False
    assert mask_iou(clicked.mask, labels == 1) == 1


def test_it_stops_at_the_limit_of_clicks() -> None:
    labels = two_regions()
    predictor = RegionPredictor(labels, spoil=True)
    clicked = click_until(predictor, labels == 1, rng=np.random.default_rng(0), max_clicks=4, accept_iou=0.9)
    assert clicked.clicks == len(predictor.calls) == 4


def test_a_finished_mask_becomes_logits_in_the_frame_of_the_model() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    mask[:, 100:] = True
    logits = logits_of_mask(mask, input_hw=(32, 64), image_size=64)
    assert logits.shape == (1, 16, 16)
    assert (logits[0, :8, 8:] > 5).all()
    assert (logits[0, :8, :8] < -5).all()
    assert (logits[0, 8:] < -5).all(), "the padding is background"


def test_a_panorama_keeps_a_row_of_logits() -> None:
    logits = logits_of_mask(np.ones((2, 4000), dtype=bool), input_hw=(1, 64), image_size=64)
    assert (logits[0, 0] > 5).all()
    assert (logits[0, 1:] < -5).all()


def test_logits_by_hand() -> None:
    """A logit stands for 4 x 4 pixels of the input; 8 where the mask covers all of them, 0 where half, else -8."""
    mask = np.zeros((16, 24), dtype=bool)
    mask[4:12, 4:10] = True
    logits = logits_of_mask(mask, input_hw=(16, 24), image_size=32)
    assert logits.dtype == np.float32
    expected = np.full((8, 8), -8.0)
    expected[1:3, 1] = 8.0
    expected[1:3, 2] = 0.0
    assert logits.tolist() == [expected.tolist()]


def test_the_frame_of_logits_is_rounded_and_never_larger_than_the_square() -> None:
    for input_hw, rows in (((9, 32), 2), ((10, 32), 2), ((11, 32), 3), ((32, 32), 8), ((40, 32), 8)):
        logits = logits_of_mask(np.ones((8, 8), dtype=bool), input_hw=input_hw, image_size=32)
        assert (logits[0, :rows] == 8).all(), input_hw
        assert (logits[0, rows:] == -8).all(), input_hw


@pytest.mark.parametrize(
    ("points", "logits", "several"),
    [([], None, True), ([], np.zeros((1, 8, 8), np.float32), False), ([(6.0, 6.0, 1)], None, False)],
)
def test_several_masks_are_asked_of_a_first_point_alone(points: list, logits: object, several: bool) -> None:  # type: ignore[type-arg]
    labels = two_regions()
    predictor = RegionPredictor(labels)
    start = Clicked(mask=np.zeros_like(labels, dtype=bool), points=points, logits=logits)  # type: ignore[arg-type]
    clicked = click_until(
        predictor, labels > 0, rng=np.random.default_rng(0), max_clicks=1, accept_iou=0.9, start=start
    )
    (call,) = predictor.calls
    assert call["multimask"] is several
    assert (call["points"].dtype, call["labels"].dtype) == (np.float32, np.int64)  # type: ignore[attr-defined]
    assert clicked.points[: len(points)] == points
    assert clicked.logits is not None
    assert clicked.logits.shape == (1, 8, 8)


def test_nobody_clicks_at_what_is_good_enough_or_at_nothing() -> None:
    labels = two_regions()
    predictor = RegionPredictor(labels)
    half = Clicked(mask=labels == 1)
    rng = np.random.default_rng(0)
    assert click_until(predictor, labels > 0, rng=rng, max_clicks=9, accept_iou=0.5, start=half) is half
    nothing = click_until(predictor, labels > 5, rng=rng, max_clicks=9, accept_iou=0.5)
    assert predictor.calls == []
    assert (nothing.clicks, nothing.points, nothing.logits, nothing.mask.any()) == (0, [], None, False)
    assert np.isnan(nothing.predicted_iou)
