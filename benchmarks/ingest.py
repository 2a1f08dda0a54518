"""How long ingest takes, and how much memory: many small pictures, and one large COCO file.

    python -m benchmarks.ingest --pictures 10000 --masks 210000

The pictures are JPEGs of 320 x 240; the COCO file has polygons of 30 corners, 42 a picture, and its pictures are tiny.
Each part runs in a process of its own, by the command line. What the machine did besides is told by its load.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from engine.store import Store

_SIDE_PX, _CORNERS, _MASKS_A_PICTURE = 64, 30, 42


def write_jpegs(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((320, 240)).save(folder / f"{number:06d}.jpg", quality=85)


def write_coco(folder: Path, masks: int) -> Path:
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    path, images = folder / "labels.json", []
    with path.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for number in range(masks):
            radius, (x, y) = rng.uniform(3, 12), rng.uniform(15, 49, 2)
            corners = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
            polygon = [round(float(value), 10) for value in corners.ravel()]
            record = {"id": number, "image_id": number // _MASKS_A_PICTURE, "segmentation": [polygon], "iscrowd": 0}
            file.write(("," if number else "") + json.dumps(record))
        for number in range(-(-masks // _MASKS_A_PICTURE)):
            Image.fromarray(rng.integers(0, 255, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8)).save(
                folder / f"{number}.jpg"
            )
            images.append({"id": number, "file_name": f"{number}.jpg", "height": _SIDE_PX, "width": _SIDE_PX})
        file.write(f'], "images": {json.dumps(images)}}}')
    return path


def run(workspace: Path, source: Path) -> dict[str, Any]:
    """Wall and processor seconds and the largest memory of an ingest by the command line, and what came of it."""
    Store.create(workspace)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", "ingest", str(workspace), str(source), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads(done.stdout)
    return {
        "wall_s": round(wall, 1),
        "processor_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "largest_memory_mb": after.ru_maxrss // 1024,  # of all children so far, so that the small part comes first
        "images": result["added"],
        "masks": result["masks"],
    }


def main(
    pictures: Annotated[int, typer.Option(help="Small JPEGs.")] = 10_000,
    masks: Annotated[int, typer.Option(help="Masks of the COCO file.")] = 210_000,
) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: {' '.join(sys.argv)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder, labels = Path(scratch) / "jpegs", Path(scratch) / "coco"
        folder.mkdir()
        labels.mkdir()
        write_jpegs(folder, pictures)
        print("pictures", run(Path(scratch) / "a", folder))
        path = write_coco(labels, masks)
        print(f"COCO file of {path.stat().st_size / 1e6:.0f} MB", run(Path(scratch) / "b", path))
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    typer.run(main)
