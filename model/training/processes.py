"""The processes of one training, as torchrun or accelerate starts them; a single one where neither did."""

from collections.abc import Iterable
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce
from torch import Tensor, nn


class Processes:
    """Sums over all processes of a training. Each holds the same model and sees its share of every step."""

    def __init__(self) -> None:
        self._state = PartialState(cpu=not torch.cuda.is_available())

    @property
    def index(self) -> int:
        return int(self._state.process_index)

    @property
    def count(self) -> int:
        return int(self._state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return bool(self._state.is_main_process)

    @property
    def device(self) -> torch.device:
        """The device that the launcher gave this process."""
        return torch.device(self._state.device)

    def sum(self, values: Tensor) -> Tensor:
        """Values of one shape, summed over the processes; the same for all of them."""
        return values if self.count == 1 else reduce(values, reduction="sum")

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes; no gradient counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.requires_grad:
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = reduce(own, reduction="sum")

    def joined(self, values: list[Any]) -> list[Any]:
        """The lists of all processes, one behind the other; the same for all of them."""
        return values if self.count == 1 else list(gather_object(values))

    def wait(self) -> None:
        """Until all processes are here."""
        self._state.wait_for_everyone()


class OneProcess(Processes):
    """This process alone, whatever a launcher started beside it."""

    count = 1
    index = 0
    is_main = True
