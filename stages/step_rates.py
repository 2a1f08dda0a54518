"""What a training tells of itself while it runs, as means over its last steps."""

from typing import TYPE_CHECKING

from engine.metrics import LOSS, SPEED, WAITING

if TYPE_CHECKING:
    from model.training.config import TrainingConfig
    from model.training.trainer import StepReport

_RECENT = 20


class StepRates:
    """Takes the report of every step: `rates.add(report)`."""

    def __init__(self, config: "TrainingConfig") -> None:
        self._config = config
        self._recent: list[StepReport] = []

    def add(self, report: "StepReport") -> "StepRates":
        self._recent = [*self._recent[1 - _RECENT :], report]
        LOSS.set(self.loss)
        SPEED.set(self.images_per_s)
        WAITING.set(self.waiting_frac)
        return self

    @property
    def loss(self) -> float:
        return _mean([one.loss for one in self._recent])

    @property
    def images_per_s(self) -> float:
        return sum(self._config.phase(one.step).batch_size for one in self._recent) / self._seconds

    @property
    def waiting_frac(self) -> float:
        """Share of the time spent waiting for data."""
        return sum(one.wait_s for one in self._recent) / self._seconds

    def __str__(self) -> str:
        """Loss, IoU of the last round, learning rate, speed and the share of waiting, for a bar or a log."""
        iou = _mean([one.ious[-1] for one in self._recent])
        speed = f"{self.images_per_s:.1f} img/s  waiting for data {self.waiting_frac:.0%}"
        return f"loss {self.loss:.3f}  IoU {iou:.2f}  lr {self._recent[-1].lr:.1e}  {speed}"

    @property
    def _seconds(self) -> float:
        return max(sum(one.seconds + one.wait_s for one in self._recent), 1e-9)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
