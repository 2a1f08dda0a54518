"""Trains on discs for a few steps in double precision; writes losses and weights. Run as a program: FILE BATCH_SIZE."""

import sys

import torch

from model.training.config import Phase, TrainingConfig
from model.training.processes import Processes
from model.training.trainer import train
from tests.model.training.models import disc_model
from tests.model.training.precision import double_precision
from tests.model.training.shapes import Shapes


@double_precision()
def main() -> None:
    torch.set_num_threads(1)
    phase = Phase(until=6, batch_size=int(sys.argv[2]), masks_per_image=3, correction_points=2)
    config = TrainingConfig(name="test", phases=(phase,), dropout=0.0, warmup_steps=2, loader_workers=0, lr=1e-3)
    sam = disc_model()
    reports = train(sam, Shapes(9), config)
    processes = Processes()
    values = {"losses": [report.loss for report in reports], "masks": [report.masks for report in reports]}
    torch.save(values | {"weights": sam.state_dict(), "processes": processes.count}, f"{sys.argv[1]}.{processes.index}")


if __name__ == "__main__":
    main()
