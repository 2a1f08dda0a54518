"""Calibration of the IoU head: lines that fit, the same masks in the same order, other numbers beside them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.calibration import MIN_PAIRS, Line, apply_lines, fit_line
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.sam import build_sam


def test_a_head_that_is_too_sure_by_a_line_is_found_out_exactly() -> None:
    predicted = np.linspace(0.2, 0.9, 40)
    line = fit_line(predicted, 0.5 * predicted - 0.05)
    assert line.slope == pytest.approx(0.5, abs=1e-6)
    assert line.intercept == pytest.approx(-0.05, abs=1e-6)


def test_a_few_masks_that_went_wrong_altogether_do_not_move_the_line() -> None:
    """Absolute error, not squares: one outlier in ten would draw a least-squares line 0.03 down."""
    predicted = np.linspace(0.3, 0.9, 50)
    reached = predicted.copy()
    reached[::10] = 0.0
    line = fit_line(predicted, reached)
    others = np.delete(predicted, np.s_[::10])
    assert np.abs(line.slope * others + line.intercept - others).max() < 0.01


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(MIN_PAIRS, 80))
def test_it_is_never_further_off_than_a_constant_and_never_turns_the_order(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, reached = rng.random(count), rng.random(count)
    line = fit_line(predicted, reached)
    assert line.slope > 0
    error = np.abs(line.slope * predicted + line.intercept - reached).mean()
    assert error <= np.abs(0.3 * (predicted - predicted.mean()) + np.median(reached) - reached).mean() * 1.05 + 1e-3


def test_too_few_masks_change_nothing() -> None:
    assert fit_line(np.full(MIN_PAIRS - 1, 0.9), np.zeros(MIN_PAIRS - 1)) == Line(1.0, 0.0)


def test_a_head_that_says_the_same_of_every_mask_says_the_median() -> None:
    reached = np.concatenate([np.full(30, 0.4), np.full(10, 0.9)])
    line = fit_line(np.full(40, 0.7), reached)
    assert line.slope * 0.7 + line.intercept == pytest.approx(0.4, abs=0.01)


def test_the_lines_fold_into_the_weights() -> None:
    torch.manual_seed(0)
    sam = build_sam(SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64), high_res_features=True))
    embedding = sam.encode(torch.randn(1, 3, 64, 64))
    points = (torch.tensor([[[10.0, 20.0]], [[40.0, 50.0]]]), torch.ones(2, 1, dtype=torch.int64))
    with torch.no_grad():
        before = {many: sam.decode(embedding, points=points, multimask_output=many) for many in (False, True)}
        apply_lines(sam, single=Line(0.5, 0.1), multiple=Line(2.0, -0.3))
        after = {many: sam.decode(embedding, points=points, multimask_output=many) for many in (False, True)}
    for many, line in ((False, Line(0.5, 0.1)), (True, Line(2.0, -0.3))):
        assert torch.equal(after[many].logits, before[many].logits)
        wanted = line.slope * before[many].predicted_iou + line.intercept
        torch.testing.assert_close(after[many].predicted_iou, wanted, rtol=1e-5, atol=1e-6)
