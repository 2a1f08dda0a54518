"""Two processes of torch's launcher learn what one does with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState

from model.training.batches import StepBatches
from model.training.config import Phase, TrainingConfig
from model.training.processes import Processes
from schemas.errors import InputError
from tests.model.training.shapes import Shapes

ROOT = Path(__file__).parents[3]


def _train(folder: Path, *, processes: int) -> list[dict[str, Any]]:
    name = folder / f"of-{processes}"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*launcher, "-m", "tests.model.training.train_in_processes", str(name), "4"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return [torch.load(f"{name}.{index}", weights_only=True) for index in range(processes)]


def test_two_processes_learn_what_one_does_with_the_whole_batch(tmp_path: Path) -> None:
    (alone,) = _train(tmp_path, processes=1)
    first, second = _train(tmp_path, processes=2)
    assert first["processes"] == second["processes"] == 2
    assert first["losses"] == second["losses"]
    assert first["masks"] == alone["masks"] == [12] * 6
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-9)
    for name, value in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], value, rtol=0, atol=1e-9, msg=name)
        assert torch.equal(first["weights"][name], second["weights"][name]), name


def test_processes_share_the_pictures_of_a_step() -> None:
    phase = Phase(until=2, batch_size=5, masks_per_image=2, correction_points=0)
    config = TrainingConfig(name="test", phases=(phase,), loader_workers=0)
    whole = StepBatches(Shapes(9), config, image_size=64)[1]
    shares = [StepBatches(Shapes(9), config, image_size=64, process=i, processes=2)[1] for i in range(2)]
    assert [share.slots.tolist() for share in shares] == [[0, 2, 4], [1, 3]]
    for share in shares:
        for row, slot in enumerate(share.slots):
            assert torch.equal(share.images[row], whole.images[slot])
            assert torch.equal(share.masks[share.image_index == row], whole.masks[whole.image_index == slot])
    with pytest.raises(InputError, match="6 processes cannot share a batch of 5"):
        StepBatches(Shapes(9), config, image_size=64, processes=6)


def test_a_process_alone_is_the_main_one_and_has_nobody_to_add_up_with(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Processes()
    assert (alone.index, alone.count, alone.is_main) == (0, 1, True)
    assert alone.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    values, parameter = torch.tensor([1.0, 2.0]), torch.nn.Parameter(torch.ones(2))
    assert alone.sum(values) is values
    alone.sum_gradients([parameter])
    assert parameter.grad is None
    waited: list[bool] = []
    monkeypatch.setattr(PartialState, "wait_for_everyone", lambda _: waited.append(True))
    alone.wait()
    assert waited == [True]


def test_gradients_are_summed_and_one_that_a_process_lacks_counts_as_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three processes that all hold the same."""
    monkeypatch.setattr(Processes, "count", 3)
    monkeypatch.setattr("model.training.processes.reduce", lambda part, *, reduction: {"sum": 3}[reduction] * part)
    learned, unused, frozen = (torch.nn.Parameter(torch.ones(2), requires_grad=last < 2) for last in range(3))
    learned.grad = torch.tensor([1.0, -2.0])
    Processes().sum_gradients([learned, unused, frozen])
    assert learned.grad.tolist() == [3, -6]
    assert unused.grad is not None
    assert unused.grad.tolist() == [0, 0]
    assert frozen.grad is None
    assert Processes().sum(torch.tensor(2.0)).item() == 6
