"""What a training tells while it runs: a line of JSON a step, TensorBoard files, a live bar."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from engine.files import append_line
from stages.step_rates import StepRates

if TYPE_CHECKING:
    from model.training.config import TrainingConfig
    from model.training.trainer import StepReport
    from stages.progress import Progress


class TrainingLog:
    """Takes the report of every step: `log(report)`. A run that goes on appends; TensorBoard overwrites by step."""

    def __init__(self, folder: Path, name: str, config: "TrainingConfig", progress: "Progress") -> None:
        """Writes FOLDER/NAME.jsonl, and FOLDER/tensorboard/NAME for: tensorboard --logdir FOLDER/tensorboard."""
        from torch.utils.tensorboard import SummaryWriter

        self._config = config
        self._progress = progress
        self._rates = StepRates(config)
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
        rates = self._rates.add(report)
        scalars = {
            "loss/total": report.loss,
            "loss/focal": report.focal,
            "loss/dice": report.dice,
            "loss/iou": report.iou_error,
            "iou/first round": report.ious[0],
            "iou/last round": report.ious[-1],
            "learning rate": report.lr,
            "images per second": rates.images_per_s,
            "share of time waiting for data": rates.waiting_frac,
        }
        for name, value in scalars.items():
            self._board.add_scalar(name, value, report.step)
        self._progress("training", report.step + 1, self._config.steps, str(rates))
