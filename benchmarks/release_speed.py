"""How fast releases are built and verified beside plain work on the same pictures, in turn in one run.

    python -m benchmarks.release_speed DATA                 # some minutes, 1 GB of disk for a while

Pictures are photographs of DATA scaled to 3000 x 2000 px, with 100 masks each (blobs of all sizes). Building without
blur stands beside decoding, scaling and encoding the same files; both work with a thread a core in one process.
Verifying stands beside `sha256sum` of the release's files and decoding its JPEGs, one after the other. What is released
must be, byte for byte, what plain encoding gives, and nothing may be wrong with it.

Exit code 0: equal, and as fast as asked (0.9 and 0.6 of the plain work's speed, below 2 GB); 1: not.
"""

import io
import json
import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image

from engine import rle
from engine.ingest import ingest
from engine.release.build import build_release
from engine.release.reader import Release, tar_members
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.rle import Rle
from schemas.tables import table_of

LABELS = Path(__file__).parent / "results" / "release_faces.json"
WIDTH, HEIGHT, RELEASED = 3000, 2000, (2250, 1500)
BLOBS = 400
BUILD_SPEED, VERIFY_SPEED, MEMORY_BYTES = 0.9, 0.6, 2e9
QUALITY = ReleaseConfig().jpeg_quality


def make_workspace(data: Path, folder: Path, *, pictures: int, masks: int) -> Store:
    """A workspace with so many pictures, and so many masks on each."""
    rng = np.random.default_rng(0)
    files = sorted({face["file"] for face in json.loads(LABELS.read_text(encoding="utf-8"))["faces"]})
    (folder / "pictures").mkdir()
    for number in range(pictures):
        small = np.asarray(Image.open(data / files[number % len(files)]).convert("RGB"))
        large = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        grain = rng.integers(-6, 7, (HEIGHT, WIDTH, 1))  # as sensors have; without it encoding were too quick
        Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8)).save(
            folder / "pictures" / f"{number}.jpg", quality=92
        )
    store = Store.create(folder / "workspace")
    ingest(store, [folder / "pictures"])
    blobs = [blob(rng) for _ in range(BLOBS)]
    for shard in store.shards():
        ids = store.read_shard("images", shard)["image_id"].to_pylist()
        rows = [
            rle.measured(blobs[(37 * number + place) % BLOBS]).to_row(
                image_id=image_id, shard=shard, stage="fully_automatic", round=1
            )
            for number, image_id in enumerate(ids)
            for place in range(masks)
        ]
        store.replace_shard("fully_automatic", shard, table_of("fully_automatic", rows), round=1, key=f"{masks:016x}")
    return store


def blob(rng: np.random.Generator) -> Rle:
    """A blob of smooth noise; sides are log-uniform from 20 px to most of the picture."""
    side = int(np.exp(rng.uniform(np.log(20), np.log(0.8 * HEIGHT))))
    noise = cv2.GaussianBlur(rng.random((160, 160)), (0, 0), 160 / rng.uniform(4, 15))
    inside = cv2.resize((noise > np.quantile(noise, rng.uniform(0.3, 0.8))).astype(np.uint8), (side, side)) > 0
    y, x = int(rng.integers(0, HEIGHT - side)), int(rng.integers(0, WIDTH - side))
    return rle.encode_at(inside, x0=x, y0=y, height=HEIGHT, width=WIDTH)


def plain(file: Path) -> bytes:
    """Decode, scale, encode."""
    encoded = io.BytesIO()
    Image.open(file).resize(RELEASED, Image.Resampling.LANCZOS).save(encoded, format="JPEG", quality=QUALITY)
    return encoded.getvalue()


def encode_all(files: list[Path]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda file: len(plain(file)), files))


def hash_and_decode(release: Path) -> None:
    subprocess.run(["sha256sum", *(path for path in release.rglob("*") if path.is_file())], check=True, stdout=-3)
    for tar in sorted(release.glob("*.tar")):
        for _, jpeg, _ in tar_members(Release(release).place / tar.name):
            Image.open(io.BytesIO(jpeg)).load()


def built(store: Store) -> Path:
    """A release anew; numbers that were given stay."""
    shutil.rmtree(store.workspace / "releases", ignore_errors=True)
    return build_release(store, config=ReleaseConfig(blur=False)).path


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def released_as_plain(store: Store, release: Path) -> bool:
    paths = {row["image_id"]: store.workspace / row["path"] for row in store.images().to_pylist()}
    return all(picture.jpeg == plain(paths[picture.row["content_id"]]) for picture in Release(release))


def row(what: str, times: list[float], per: int, ratio: str) -> str:
    each = [1000 * time_s / per for time_s in times]
    return f"| {what} | {median(each):.1f} | {min(each):.1f} to {max(each):.1f} | {ratio} |"


def measure(data: Path, *, pictures: int, masks: int, rounds: int) -> dict[str, Any]:
    """Print a table; returns whether all was equal, and the two speeds over those of plain work."""
    times: dict[str, list[float]] = {"plain": [], "build": [], "read": [], "verify": []}
    with tempfile.TemporaryDirectory() as scratch:
        store = make_workspace(data, Path(scratch), pictures=pictures, masks=masks)
        files = sorted((store.workspace / "images").rglob("*.jpg"))
        release = built(store)  # gives the numbers, loads what is compiled
        equal = released_as_plain(store, release) and verify_release(release) == []
        for _ in range(rounds):
            times["plain"].append(seconds(lambda: encode_all(files)))
            times["build"].append(seconds(lambda: built(store)))
            times["read"].append(seconds(lambda: hash_and_decode(release)))
            times["verify"].append(seconds(lambda: verify_release(release)))
    # Of each round by itself: what else runs on the machine changes from round to round.
    build = median(one / other for one, other in zip(times["plain"], times["build"], strict=True))
    verify = median(one / other for one, other in zip(times["read"], times["verify"], strict=True))
    print("| ms a picture | median | of the rounds | speed over plain |\n| --- | --- | --- | --- |")
    print(row("decode, scale, encode", times["plain"], pictures, ""))
    print(row(f"`build` without blur, {masks} masks a picture", times["build"], pictures, f"{build:.2f}"))
    print(row("`sha256sum`, decode", times["read"], pictures, ""))
    print(row("`verify`", times["verify"], pictures, f"{verify:.2f}"), flush=True)
    return {"equal": equal, "build": build, "verify": verify}


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the data sets.")],
    pictures: Annotated[int, typer.Option(min=1)] = 150,
    masks: Annotated[int, typer.Option(min=1, help="On each picture.")] = 100,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Print how fast releases are built and verified."""
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the start, Pillow {Image.__version__}\n")
    found = measure(data, pictures=pictures, masks=masks, rounds=rounds)
    memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"\nJPEGs equal to plainly encoded ones and nothing wrong by `verify`: {'yes' if found['equal'] else 'NO'}.")
    print(f"Most memory of the process, threads for all cores in it: {memory / 1e9:.2f} GB.")
    reached = found["build"] >= BUILD_SPEED and found["verify"] >= VERIFY_SPEED and memory < MEMORY_BYTES
    raise typer.Exit(0 if found["equal"] and reached else 1)


if __name__ == "__main__":
    typer.run(main)
