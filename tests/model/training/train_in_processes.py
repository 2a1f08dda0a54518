"""Trains on discs for a few steps in double precision; writes losses and weights. Called in processes of their own."""

import os
from pathlib import Path
from typing import Any

import torch

from model.training.config import Phase, TrainingConfig
from model.training.processes import Processes
from model.training.trainer import train
from tests.model.training.models import disc_model
from tests.model.training.precision import double_precision
from tests.model.training.shapes import Shapes


@double_precision()
def trained() -> dict[str, Any]:
    phase = Phase(until=4, batch_size=4, masks_per_image=2, correction_points=1)
    config = TrainingConfig(name="test", phases=(phase,), dropout=0.0, warmup_steps=2, loader_workers=0, lr=1e-3)
    sam = disc_model()
    reports = train(sam, Shapes(9), config)
    values = {"losses": [report.loss for report in reports], "masks": [report.masks for report in reports]}
    return values | {"weights": sam.state_dict(), "processes": Processes().count}


def train_share(folder: Path, index: int, count: int) -> None:
    """As one of `count` processes, in the environment that torch's launcher gives them; they meet at a file."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}  # asked for, and not used
    meeting = f"file://{folder / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=index, world_size=count)
    torch.save(trained(), folder / str(index))
    torch.distributed.destroy_process_group()
