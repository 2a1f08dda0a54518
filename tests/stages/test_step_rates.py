"""What a training tells of itself: means over its last twenty steps."""

from types import SimpleNamespace
from typing import Any

import pytest

from engine.metrics import LOSS, SPEED, WAITING
from model.training.trainer import StepReport
from stages.step_rates import StepRates


def a_report(**more: Any) -> StepReport:
    """Of a step that took two seconds, half a second of it waiting for data."""
    of_step = {"step": 0, "loss": 2.5, "focal": 0.0, "dice": 0.0, "iou_error": 0.0, "ious": (0.5, 0.75), "lr": 1e-4}
    return StepReport(**(of_step | {"masks": 8, "seconds": 1.5, "wait_s": 0.5} | more))


def of_batches_of(images: int) -> Any:
    return SimpleNamespace(phase=lambda step: SimpleNamespace(batch_size=images + step))


def test_of_one_step() -> None:
    rates = StepRates(of_batches_of(4)).add(a_report())
    assert (rates.loss, rates.images_per_s, rates.waiting_frac) == (2.5, 2.0, 0.25)
    assert str(rates) == "loss 2.500  IoU 0.75  lr 1.0e-04  2.0 img/s  waiting for data 25%"


def test_of_several_steps_are_means_and_the_batch_is_that_of_the_step() -> None:
    rates = StepRates(of_batches_of(4)).add(a_report(loss=1.0, ious=(0.1, 0.2)))
    rates.add(a_report(step=2, loss=2.0, ious=(0.9, 0.6), lr=5e-5, seconds=0.5, wait_s=1.5))
    assert rates.loss == 1.5
    assert rates.images_per_s == (4 + 6) / 4.0
    assert rates.waiting_frac == 0.5
    assert str(rates) == "loss 1.500  IoU 0.40  lr 5.0e-05  2.5 img/s  waiting for data 50%"


def test_only_the_last_twenty_steps_count() -> None:
    rates = StepRates(of_batches_of(1))
    for step in range(25):
        rates.add(a_report(step=0, loss=float(step)))
    assert rates.loss == pytest.approx(sum(range(5, 25)) / 20)


def test_a_step_that_took_no_time_divides_by_nothing() -> None:
    assert StepRates(of_batches_of(1)).add(a_report(seconds=0.0, wait_s=0.0)).waiting_frac == 0.0


def test_who_watches_the_process_is_told() -> None:
    StepRates(of_batches_of(4)).add(a_report())
    assert [each._value.get() for each in (LOSS, SPEED, WAITING)] == [2.5, 2.0, 0.25]
