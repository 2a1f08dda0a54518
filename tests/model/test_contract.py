"""Which type `fast` computes in, with times that are given, not taken."""

from collections.abc import Callable

import pytest
import torch

from model.contract import Contract, HalfTrial, half_trial, try_half

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def clock(*, half_s: float, single_s: float) -> Callable[[], float]:
    """A clock that runs as if a product took this long: it is asked before and after each, in turn."""
    now, asked = 0.0, 0

    def read() -> float:
        nonlocal now, asked
        asked += 1
        if asked % 2 == 0:
            now += half_s if torch.is_autocast_enabled("cpu") else single_s
        return now

    return read


def given(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    trial = try_half(torch.bfloat16, clock=clock(**seconds))
    monkeypatch.setattr("model.contract.half_trial", lambda _: trial)


def test_each_type_is_timed_with_its_own_product() -> None:
    trial = try_half(torch.bfloat16, clock=clock(half_s=0.002, single_s=0.005))
    assert (trial.half_s, trial.single_s) == (pytest.approx(0.002), pytest.approx(0.005))


def test_the_best_of_the_tries_counts() -> None:
    seconds = iter([5.0, 2.0, 4.0, 3.0, 3.0, 1.0])
    now, asked = 0.0, 0

    def read() -> float:
        nonlocal now, asked
        asked += 1
        now += next(seconds) if asked % 2 == 0 else 0.0
        return now

    assert try_half(torch.bfloat16, clock=read) == HalfTrial(half_s=1.0, single_s=2.0)


def test_fast_takes_half_precision_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, half_s=0.002, single_s=0.005)
    contract = Contract("fast", CPU)
    assert contract.encoder_dtype == torch.bfloat16
    with contract.autocast():
        assert torch.is_autocast_enabled("cpu")
    assert str(contract) == (
        "fast: the image encoder runs in bfloat16; on this processor a product takes 2.0 ms in bfloat16 and 5.0 ms in "
        "float32"
    )


@pytest.mark.parametrize("half_s", [0.005, 0.02])
def test_fast_stays_exact_where_half_precision_is_no_faster(monkeypatch: pytest.MonkeyPatch, half_s: float) -> None:
    given(monkeypatch, half_s=half_s, single_s=0.005)
    contract = Contract("fast", CPU)
    assert contract.encoder_dtype == contract.decoder_dtype == torch.float32
    with contract.autocast():
        assert not torch.is_autocast_enabled("cpu")
    assert "runs in float32, so that all is as with exact" in str(contract)


def test_exact_and_a_gpu_try_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("model.contract.half_trial")
    assert Contract("exact", CPU).encoder_dtype == torch.float32
    assert str(Contract("exact", CPU)) == "exact"
    assert Contract("fast", CUDA).encoder_dtype == torch.bfloat16
    assert str(Contract("fast", CUDA)) == "fast: bfloat16"


def test_a_process_tries_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr("model.contract.try_half", lambda half: tried.append(half) or HalfTrial(1.0, 2.0))
    half_trial.cache_clear()
    assert half_trial(torch.bfloat16) == half_trial(torch.bfloat16) == HalfTrial(1.0, 2.0)
    assert tried == [torch.bfloat16]
    half_trial.cache_clear()
