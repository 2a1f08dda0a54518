"""Figures for Prometheus: what is told appears, in the form that Prometheus reads."""

import socket
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.metrics import as_text, serve_metrics, tell_progress
from flows import metrics
from flows.metrics import with_metrics
from model.training.config import TrainingConfig
from model.training.trainer import StepReport
from schemas.errors import InputError
from stages.progress import silent
from stages.step_rates import StepRates


def figures(text: str) -> dict[tuple[str, str], float]:
    """By name and the value of the only label."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_progress_and_a_training_are_told() -> None:
    tell_progress("shards", 3, 4)
    report = StepReport(
        step=0, loss=2.5, focal=0, dice=0, iou_error=0, ious=(0.5, 0.75), lr=1e-4, masks=8, seconds=1.5, wait_s=0.5
    )
    phase: Any = SimpleNamespace(phase=lambda step: SimpleNamespace(batch_size=4))
    config: TrainingConfig = phase
    rates = StepRates(config).add(report)
    assert str(rates) == "loss 2.500  IoU 0.75  lr 1.0e-04  2.0 img/s  waiting for data 25%"
    found = figures(as_text().decode())
    assert (found["sam_engine_progress_done", "shards"], found["sam_engine_progress_total", "shards"]) == (3, 4)
    assert found["sam_engine_training_loss", ""] == 2.5
    assert found["sam_engine_training_images_per_second", ""] == 2.0
    assert found["sam_engine_training_waiting_ratio", ""] == 0.25
    assert found["process_resident_memory_bytes", ""] > 1e6


def test_a_long_run_answers_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_metrics(silent) is silent
    port = serve_metrics("127.0.0.1:0")
    tell_progress("release", 1, 2)
    found = figures(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    assert found["sam_engine_progress_total", "release"] == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv(metrics.ADDRESS, f"127.0.0.1:{taken.getsockname()[1]}")
        told: list[int] = []
        with_metrics(lambda what, done, total, note="": told.append(done))("release", 2, 2)
    assert told == [2], "the work goes on"
    assert "no metrics: SAM_ENGINE_METRICS=127.0.0.1:" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["9108", "127.0.0.1:", "127.0.0.1:http", ":9108", "127.0.0.1:99999"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(InputError, match="expected HOST:PORT, for example"):
        serve_metrics(address)
