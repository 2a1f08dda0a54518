"""Trains on discs and kills itself (SIGKILL) after a step, or in the middle of writing a checkpoint.

Called in processes of their own.
"""

import multiprocessing
import os
import signal
from pathlib import Path

import torch

from model import files
from model.training.config import Phase, TrainingConfig
from model.training.trainer import StepReport, train
from tests.model.training.models import disc_model
from tests.model.training.shapes import Shapes

STEPS = 8


def train_to(folder: Path, moment: str) -> None:
    """moment: "never", "writing" or the number of a step. Writes FOLDER/weights.pt."""
    torch.set_num_threads(1)
    if moment == "writing":
        files.os.fsync = lambda _file: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]

    def on_step(report: StepReport) -> None:
        loaders = [str(process.pid) for process in multiprocessing.active_children()]
        (folder / "loaders.txt").write_text(" ".join(loaders))
        with (folder / "losses.txt").open("a") as log:
            log.write(f"{report.step} {report.loss.hex()}\n")
        if moment == str(report.step):
            os.kill(os.getpid(), signal.SIGKILL)

    phases = (
        Phase(until=3, batch_size=2, masks_per_image=2, correction_points=0, input_size_px=32),
        Phase(until=STEPS, batch_size=2, masks_per_image=2, correction_points=2),
    )
    config = TrainingConfig(
        name="test",
        phases=phases,
        warmup_steps=2,
        lr=1e-3,
        ema_decay=0.9,
        flip=True,
        scale_range=(0.8, 1.3),
        loader_workers=1,
    )
    sam = disc_model()
    train(sam, Shapes(6), config, checkpoints=folder / "checkpoints", checkpoint_every_s=0, on_step=on_step)
    torch.save(sam.state_dict(), folder / "weights.pt")
