"""What a training tells while it runs: a line of JSON a step, TensorBoard files, a live bar."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from engine.files import append_line

if TYPE_CHECKING:
    from model.training.config import TrainingConfig
    from model.training.trainer import StepReport
    from stages.progress import Progress

_RECENT = 20


class TrainingLog:
    """Takes the report of every step: `log(report)`. A run that goes on appends; TensorBoard overwrites by step."""

    def __init__(self, folder: Path, name: str, config: "TrainingConfig", progress: "Progress") -> None:
        """Writes FOLDER/NAME.jsonl, and FOLDER/tensorboard/NAME for: tensorboard --logdir FOLDER/tensorboard."""
        from torch.utils.tensorboard import SummaryWriter

        self._config = config
        self._progress = progress
        self._recent: list[StepReport] = []
        self._lines = folder / f"{name}.jsonl"
        self._board = SummaryWriter(str(folder / "tensorboard" / name))

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()

    def __call__(self, report: "StepReport") -> None:
        append_line(self._lines, report.to_json().encode())
        self._recent = [*self._recent[1 - _RECENT :], report]
        pictures = sum(self._config.phase(one.step).batch_size for one in self._recent)
        waited = sum(one.wait_s for one in self._recent)
        seconds = sum(one.seconds for one in self._recent) + waited
        scalars = {
            "loss/total": report.loss,
            "loss/focal": report.focal,
            "loss/dice": report.dice,
            "loss/iou": report.iou_error,
            "iou/first round": report.ious[0],
            "iou/last round": report.ious[-1],
            "learning rate": report.lr,
            "images per second": pictures / seconds,
            "share of time waiting for data": waited / seconds,
        }
        for name, value in scalars.items():
            self._board.add_scalar(name, value, report.step)
        loss, iou = _mean([one.loss for one in self._recent]), _mean([one.ious[-1] for one in self._recent])
        speed = f"{pictures / seconds:.1f} img/s  waiting for data {waited / seconds:.0%}"
        text = f"loss {loss:.3f}  IoU {iou:.2f}  lr {report.lr:.1e}  {speed}"
        self._progress("training", report.step + 1, self._config.steps, text)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
