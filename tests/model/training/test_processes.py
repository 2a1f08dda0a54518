"""Two processes learn what one does with the whole batch."""

from pathlib import Path

import pytest
import torch
from accelerate import PartialState

from model.training.batches import StepBatches
from model.training.config import Phase, TrainingConfig
from model.training.processes import Processes
from schemas.errors import InputError
from tests.forks import PROCESSES
from tests.model.training.shapes import Shapes
from tests.model.training.train_in_processes import train_share, trained


def test_two_processes_learn_what_one_does_with_the_whole_batch(tmp_path: Path) -> None:
    """Started as torch's launcher does; tests/flows/test_torchrun.py has the launcher itself."""
    processes = [PROCESSES.Process(target=train_share, args=(tmp_path, index, 2)) for index in range(2)]
    for process in processes:
        process.start()
    alone = trained()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / str(index), weights_only=True) for index in range(2))
    assert alone["processes"] == 1
    assert first["processes"] == second["processes"] == 2
    assert first["losses"] == second["losses"]
    assert first["masks"] == alone["masks"] == [8] * 4
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
