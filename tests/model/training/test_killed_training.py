"""A training that is killed (SIGKILL) and started again ends in the same losses and weights, bit for bit."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.forks import exit_code
from tests.model.training.train_to_kill import STEPS, train_to

pytestmark = pytest.mark.faults


def _train(folder: Path, moment: str) -> int:
    folder.mkdir(exist_ok=True)
    return exit_code(train_to, folder, moment)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _losses(folder: Path) -> dict[int, str]:
    """The loss of each step as its last run had it, every bit of it."""
    lines = [line.split() for line in (folder / "losses.txt").read_text().splitlines()]
    return {int(step): loss for step, loss in lines}


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unharmed")
    assert _train(folder, "never") == 0
    assert sorted(_losses(folder)) == list(range(STEPS))
    return folder


@pytest.mark.parametrize("moment", ["0", "2", "5", "writing"])
def test_a_killed_training_goes_on_bit_for_bit(unharmed: Path, tmp_path: Path, moment: str) -> None:
    assert _train(tmp_path, moment) == -signal.SIGKILL
    assert not (tmp_path / "weights.pt").exists()
    loaders = [int(process) for process in (tmp_path / "loaders.txt").read_text().split()]
    assert len(loaders) == 1
    end = time.monotonic() + 60
    while any(map(_lives, loaders)):
        assert time.monotonic() < end, "a process goes on making batches for nobody"
        time.sleep(0.1)
    assert _train(tmp_path, "never") == 0
    assert _losses(tmp_path) == _losses(unharmed)
    expected = torch.load(unharmed / "weights.pt", weights_only=True)
    found = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
