"""What the store and Prefect add to the work on shards, and what a second worker gives: one core a worker.

    OMP_NUM_THREADS=1 python -m benchmarks.orchestration --pictures 1000 --folder FOLDER

Makes a workspace of small pictures of shapes and has `nano` generate their masks: in this process, in a flow of
Prefect, by two processes, and by two actors of Ray (extra [ray]). Each is a process of its own on a copy of the
workspace. Added is what is left of the time of all shards without the making of their rows. Workers are compared once
all are at work: by the shards that were done after the first one of each.
"""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from benchmarks.scale import processor
from engine.ingest import ingest
from engine.processes import Processes, Tell
from engine.store import Store
from flows.ray_shards import RayShards
from model.registry import find_model
from schemas.stages import Stage
from schemas.tables import Round
from stages import steps
from stages.fully_automatic import FullyAutomaticWorker
from stages.planning import Step
from stages.progress import Progress, silent
from stages.records import ShardRows
from stages.shards import MapShards, ShardOutcome, serial

STAGE: Stage = "fully_automatic"
SETTINGS = """\
images: {{shard_size: {shard}, holdout_frac: 0}}
model: {{device: cpu}}
flow: {{shards_per_task: 50, retries: 0}}
"""


@dataclass
class Clock:
    """When shards were done, wherever that was, and how long rows took to make in this process."""

    done_s: list[float] = field(default_factory=list)
    making_s: float = 0.0

    def shard(self) -> None:
        self.done_s.append(time.perf_counter())

    def watch(self) -> None:
        """From now on, in this process."""
        make_rows, count = FullyAutomaticWorker.make_rows, FullyAutomaticWorker.count

        def timed(worker: FullyAutomaticWorker, shard: str, image_ids: Sequence[int]) -> ShardRows:
            _ = worker.generator  # the model is loaded once, not once a shard
            started = time.perf_counter()
            rows = make_rows(worker, shard, image_ids)
            self.making_s += time.perf_counter() - started
            self.shard()
            return rows

        def counted(worker: FullyAutomaticWorker, images: int) -> None:
            count(worker, images)
            if images > 1:  # of an actor: here they come one by one
                self.shard()

        FullyAutomaticWorker.make_rows = timed  # type: ignore[method-assign]
        FullyAutomaticWorker.count = counted  # type: ignore[method-assign]


@dataclass(frozen=True)
class _Shard:
    """A worker's `__call__`, for processes that tell."""

    worker: Callable[[str], ShardOutcome]

    def __call__(self, shard: str, tell: Tell) -> ShardOutcome:
        done = self.worker(shard)
        tell(1)
        return done


def build(folder: Path, *, pictures: int, side: int, shard: int) -> Path:
    """A workspace with a round that is open."""
    workspace = folder / "workspace"
    if (workspace / "built").exists():
        return workspace
    store = Store.create(workspace)
    (workspace / "engine.yaml").write_text(SETTINGS.format(shard=shard), encoding="utf-8")
    source = folder / "pictures"
    source.mkdir(exist_ok=True)
    for number in range(pictures):
        Image.fromarray(picture(number, side)).save(source / f"{number}.png")
    ingest(store, [source])
    model = find_model("nano", store.files.model_roots()).model_id
    store.put_round(Round(STAGE, 1, store.image_index().ids, model_before=model))
    (workspace / "built").touch()
    return workspace


def picture(seed: int, side: int) -> np.ndarray:
    """(side, side, 3) uint8, a dozen rectangles on noise."""
    rng = np.random.default_rng(seed)
    pixels: np.ndarray = rng.integers(0, 60, (side, side, 3), dtype=np.uint8)
    for _ in range(12):
        x, y = rng.integers(0, side * 3 // 4, 2)
        width, height = rng.integers(side // 16, side // 4, 2)
        pixels[y : y + height, x : x + width] = rng.integers(90, 256, 3)
    return pixels


def measure(workspace: Path, how: str) -> dict[str, float]:
    """All shards of the round, in this process."""
    store, clock = Store(workspace), Clock()
    clock.watch()
    total_s = WAYS[how](store, clock)
    workers = 2 if how in ("processes", "ray") else 1
    first, *_, last = clock.done_s[workers - 1 :]
    return {
        "shards": len(clock.done_s),
        "total_s": total_s,
        "added_frac": (total_s - clock.making_s) / clock.making_s if clock.making_s else math.nan,
        "shards_a_minute": 60 * (len(clock.done_s) - workers) / (last - first),
    }


def annotated(store: Store, map_shards: MapShards, progress: Progress = silent) -> float:
    """Seconds that the round took."""
    started = time.perf_counter()
    steps.annotate(store, Step(STAGE, "generate", 1, ""), map_shards, progress)
    return time.perf_counter() - started


def by_processes(store: Store, clock: Clock) -> float:
    def mapped(function: Callable[[str], ShardOutcome], shards: Sequence[str], /) -> Sequence[ShardOutcome]:
        return Processes(2)(_Shard(function), shards, lambda _: clock.shard())

    return annotated(store, mapped)


def in_a_flow(store: Store, _: Clock) -> float:
    """Timed within the flow: the start of Prefect's server is no part of a shard."""
    from flows.prefect_settings import prepare_prefect

    prepare_prefect(store.files.root.on_disk())
    from prefect import flow

    from flows.deployments import name_of
    from flows.stage_runs import shard_groups
    from flows.telling import told_everywhere

    def work() -> float:
        config = store.files.settings().flow
        return annotated(store, shard_groups(config), told_everywhere(silent, name_of(store.files)))

    return float(flow(work, name="orchestration")())


WAYS: dict[str, Callable[[Store, Clock], float]] = {
    "here": lambda store, _: annotated(store, serial),
    "prefect": in_a_flow,
    "processes": by_processes,
    "ray": lambda store, _: annotated(store, RayShards(actors=2)),
}
TITLES = {
    "here": "one process",
    "prefect": "one process, in a flow of Prefect",
    "processes": "two processes",
    "ray": "two actors of Ray",
}


def measured(workspace: Path, how: str) -> dict[str, float]:
    """One way, in a process of its own, on a copy of the workspace."""
    copy = workspace.with_name(how)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(workspace, copy)
    command = [sys.executable, "-m", "benchmarks.orchestration", "--one", how, "--folder", str(copy)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(copy)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(
    folder: Annotated[Path, typer.Option(help="Where the workspace is made, and kept.")],
    pictures: Annotated[int, typer.Option(help="Pictures of the workspace.")] = 1000,
    side: Annotated[int, typer.Option(help="Of a picture, in pixels.")] = 256,
    shard: Annotated[int, typer.Option(help="Pictures of a shard.")] = 50,
    ways: Annotated[str, typer.Option(help="What is measured, with commas between.")] = ",".join(WAYS),
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Build the workspace and measure every way on it."""
    if one:
        print(json.dumps(measure(folder, one)))
        return
    workspace = build(folder, pictures=pictures, side=side, shard=shard)
    print(f"`python -m benchmarks.orchestration {' '.join(sys.argv[1:])}`\n")
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| | shards | seconds | added to the making of rows | shards a minute | times one process |")
    print("| --- | --- | --- | --- | --- | --- |")
    alone = math.nan
    for how in ways.split(","):
        found = measured(workspace, how)
        rate = found["shards_a_minute"]
        alone = rate if how == "here" else alone
        added = "-" if math.isnan(found["added_frac"]) else f"{found['added_frac']:.1%}"
        cells = [TITLES[how], f"{found['shards']:.0f}", f"{found['total_s']:.1f}", added, f"{rate:.2f}"]
        print("| " + " | ".join([*cells, f"{rate / alone:.2f}"]) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
