"""Shows that memory in training does not grow with the masks of a picture, beside what the plan said before step 1.

    python benchmarks/training_memory.py                       # nano, 2 pictures of 512 px, 8, 32 and 128 masks each
    python benchmarks/training_memory.py --masks 64 256 --images 1

Every row is a process of its own that takes two steps on synthetic pictures (discs on noise); the peak is the largest
resident size that the system saw, less that of a process which has only loaded the model.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from pycocotools import mask as coco_mask

from model.registry import model_roots
from model.storage import load_model
from model.training.config import Phase, TrainingConfig
from model.training.memory import plan_memory
from model.training.samples import Sample
from model.training.trainer import train
from schemas.rle import CocoRle

MIB = 2**20
SIDE_PX = 512


class Discs:
    """Pictures of 512 px with as many discs as are asked for."""

    def __init__(self, masks: int) -> None:
        self._masks = masks

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
        masks: list[CocoRle] = []
        for _ in range(self._masks):
            x, y = rng.integers(60, SIDE_PX - 60, 2)
            disc = (columns - x) ** 2 + (rows - y) ** 2 < rng.integers(20, 60) ** 2
            masks.append(coco_mask.encode(np.asfortranarray(disc, dtype=np.uint8)))
        return Sample(rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8), masks)


def config(images: int, masks: int, masks_at_once: int) -> TrainingConfig:
    phase = Phase(until=2, batch_size=images, masks_per_image=masks, correction_points=2)
    return TrainingConfig(
        name="memory", phases=(phase,), masks_at_once=masks_at_once, loader_workers=0, min_mask_frac=0
    )


def peak_mib(images: int, masks: int, masks_at_once: int) -> float:
    """The peak of a process that trains, without what it takes to load the model."""
    own = [sys.executable, __file__, "--images", str(images), "--masks-at-once", str(masks_at_once), "--child"]
    sizes = [float(subprocess.check_output([*own, str(count)], text=True)) for count in (0, masks)]
    return sizes[1] - sizes[0]


def child(images: int, masks: int, masks_at_once: int) -> None:
    sam, _ = load_model("nano", model_roots())
    if masks:
        train(sam, Discs(masks), config(images, masks, masks_at_once))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2, help="pictures in a step")
    parser.add_argument("--masks", type=int, nargs="+", default=[8, 32, 128], help="masks of a picture")
    parser.add_argument("--masks-at-once", type=int, default=16, help="masks in one pass of the decoder")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child is not None:
        child(asked.images, asked.child, asked.masks_at_once)
        return
    print(f"command   {' '.join(['python', 'benchmarks/training_memory.py', *sys.argv[1:]])}")
    print(f"hardware  {platform.machine()}, {os.cpu_count()} cores")
    print(f"versions  torch {version('torch')}, numpy {version('numpy')}, Python {platform.python_version()}")
    print(f"synthetic pictures of {SIDE_PX} px, {asked.images} a step, {asked.masks_at_once} masks at once, model nano")
    sam, info = load_model("nano", model_roots())
    print(f"{'masks a picture':>16}{'planned, MiB':>16}{'measured, MiB':>16}   ({info.name} {info.model_id})")
    for masks in asked.masks:
        plan = plan_memory(sam, config(asked.images, masks, asked.masks_at_once))
        planned = (plan.total - plan.weights) / MIB
        print(f"{masks:>16}{planned:>16.0f}{peak_mib(asked.images, masks, asked.masks_at_once):>16.0f}", flush=True)


if __name__ == "__main__":
    main()
