"""What a workspace costs at 100, 1,000 and 11,000 shards: seconds, memory and bytes of every operation of the store.

    python -m benchmarks.scale --shards 100,1000,11000 --images-per-shard 1000 --masks 3 --folder FOLDER

Makes synthetic workspaces, with the real tables, in FOLDER (kept, and used again), and measures every operation in a
process of its own: seconds by the clock and of the processor, and how far its memory rises above what the opened
workspace with all imports has. The last column is what it would take at 11,000 shards of 1,000 images with 100 masks
each: on the line through the last two workspaces, by what the operation goes through (shards, images or masks).
"""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest.mock import patch

import deltalake
import pyarrow as pa
import typer

from benchmarks.scale_workspace import FULL_SIZE, STAGE, Size, build, outcomes
from engine.store import Store

MIB = 2**20


class Operation(NamedTuple):
    """grows_with: what it goes through; "" where it should cost the same at any size."""

    title: str
    grows_with: str
    run: Callable[[Store, Any], Any]
    prepare: Callable[[Store], Any] = lambda store: None


def operations() -> dict[str, Operation]:
    """All that is measured, in the order of the table. The heavy imports are done before the clock starts."""
    from dataclasses import replace

    from engine.images import read_bytes
    from engine.release.plan import Snapshot, plan_tars
    from engine.snapshots import training_samples
    from flows.commands.status import workspace_status
    from model.training.order import order_of
    from schemas.image_ids import ImageIds
    from stages import steps
    from stages.planning import next_step
    from stages.rounds import tick
    from stages.workers import images_by_shard

    def record(store: Store) -> Any:
        return store.rounds(STAGE)[0]

    def samples(store: Store, _: Any) -> Any:
        versions = store.versions()
        return training_samples(store, tables_versions=versions, selection="accumulated", stage=STAGE, round=1)

    def read_samples(_: Store, found: Any) -> None:
        order = order_of(found, found.weights, seed=0)
        # One picture stands for all here, so it is not the one that each id names.
        with patch("engine.snapshots.read_original", lambda file, _: read_bytes(file)):
            for position in range(min(1000, len(found))):
                found[order.sample(position)]

    def close(store: Store, found: Any) -> None:
        steps._statistics(store, *found)

    def replaced(store: Store, rows: pa.Table) -> None:
        from engine.keys import content_key

        store.replace_shard(STAGE, "000007", rows, round=2, key=content_key(os.getpid(), time.time()))

    def rows_of_round_2(store: Store) -> pa.Table:
        rows = store.read_shard(STAGE, "000007", round=1)
        place = rows.schema.get_field_index("round")
        rows = rows.set_column(place, rows.schema.field(place), pa.repeat(pa.scalar(2, pa.int32()), len(rows)))
        replaced(store, rows.slice(0, 0))  # the first one opens files of the libraries
        return rows

    def some_mask(store: Store) -> int:
        shards = store.shards(STAGE)
        return int(store.read_shard(STAGE, shards[len(shards) // 2])["mask_id"][0].as_py())

    def new_round(store: Store) -> Any:
        return replace(record(store), round=2, image_ids=ImageIds(record(store).image_ids.array))

    return {
        "open": Operation(
            "open the workspace, versions of all tables", "shards", lambda s, _: Store(s.files).versions()
        ),
        "index": Operation("index of images, made anew", "shards", lambda s, _: s.image_index(), _without_cache),
        "index_again": Operation("index of images, as it was kept", "shards", lambda s, _: s.image_index()),
        "images_by_shard": Operation(
            "`images_by_shard` of all images",
            "images",
            lambda s, r: dict.fromkeys(images_by_shard(s, r.image_ids)),
            record,
        ),
        "open_round": Operation("open a round of all images", "images", lambda s, r: s.put_round(r), new_round),
        "next_step": Operation("`next_step`, first stage", "images", lambda s, _: next_step(s, "assisted_manual")),
        "next_step_automatic": Operation("`next_step`, last stage", "images", lambda s, _: next_step(s, STAGE)),
        "tick": Operation("a tick with nothing to do", "images", lambda s, _: tick(s, STAGE)),
        "status": Operation("`sam-engine status`", "images", lambda s, _: workspace_status(s)),
        "counts": Operation("rows of all tables", "shards", lambda s, _: s.counts()),
        "committed": Operation("is a shard done?", "", lambda s, _: s.committed(STAGE, "000007", round=1)),
        "read_shard": Operation("read a shard's masks", "", lambda s, _: s.read_shard(STAGE, "000007", round=1)),
        "replace_shard": Operation("`replace_shard`", "", replaced, rows_of_round_2),
        "explain_first": Operation(
            "find a mask, first time", "masks", lambda s, m: s.find_mask(m), _without_cache_of_masks
        ),
        "explain": Operation("find a mask", "", lambda s, m: s.find_mask(m), some_mask),
        "close_round": Operation("close a round", "shards", close, lambda s: (record(s), outcomes(s))),
        "close_round_counted": Operation(
            "close a round without sums", "masks", close, lambda s: (record(s), outcomes(s, with_keys=False))
        ),
        "training_open": Operation("open training data", "masks", samples),
        "training_read": Operation("read 1,000 samples", "", read_samples, lambda s: samples(s, None)),
        "plan_tars": Operation(
            "`plan_tars`", "masks", lambda s, _: plan_tars(Snapshot.take(s, (STAGE,)), images_per_tar=1000)
        ),
    }


def _without_cache(store: Store) -> None:
    shutil.rmtree(store.workspace / "cache", ignore_errors=True)


def _without_cache_of_masks(store: Store) -> int:
    shutil.rmtree(store.workspace / "cache" / "masks", ignore_errors=True)
    shards = store.shards(STAGE)
    return int(store.read_shard(STAGE, shards[len(shards) // 2])["mask_id"][0].as_py())


def measure(workspace: Path, name: str) -> dict[str, float]:
    """One operation, in this process."""
    operation = operations()[name]
    store = Store(workspace)
    prepared = operation.prepare(store)
    if name not in ("replace_shard", "training_read", "committed", "read_shard"):
        store = Store(workspace)  # as a command finds it
    before = _resident_bytes()
    _forget_peak()
    processor_s, clock_s = time.process_time(), time.perf_counter()
    operation.run(store, prepared)
    return {
        "clock_s": time.perf_counter() - clock_s,
        "processor_s": time.process_time() - processor_s,
        "more_mib": max(0.0, (_peak_bytes() - before) / MIB),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


def _resident_bytes() -> int:
    return _status("VmRSS:")


def _peak_bytes() -> int:
    return _status("VmHWM:")


def _forget_peak() -> None:
    """Linux then counts the peak from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def measured(workspace: Path, name: str, *, timeout_s: float) -> dict[str, float] | str:
    """One operation in a process of its own; the reason where it did not end."""
    command = [sys.executable, "-m", "benchmarks.scale", "--one", name, "--folder", str(workspace)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"not in {timeout_s:g} s"
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:80]
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bytes_lines(workspaces: Sequence[Path], sizes: Sequence[Size]) -> Iterator[str]:
    yield "| MB on disk | " + " | ".join(f"{size.shards:,} shards" for size in sizes) + " |"
    yield "| --- |" + " --- |" * len(sizes)
    logs = [sum(folder_bytes(log) for log in (each / "tables").glob("*/_delta_log")) for each in workspaces]
    named: dict[str, list[int]] = {
        "masks": [folder_bytes(each / "tables" / STAGE) for each in workspaces],
        "images": [folder_bytes(each / "tables" / "images") for each in workspaces],
        "images of rounds": [folder_bytes(each / "tables" / "round_images") for each in workspaces],
        "logs of all tables": logs,
        "cache": [folder_bytes(each / "cache") for each in workspaces],
    }
    for name, found in named.items():
        yield f"| {name} | " + " | ".join(f"{each / 1e6:.1f}" for each in found) + " |"


def told(found: dict[str, float] | str) -> str:
    if isinstance(found, str):
        return found
    return f"{found['clock_s']:.3g} s ({found['processor_s']:.3g}), +{found['more_mib']:.0f} MiB"


def at_full_size(operation: Operation, sizes: Sequence[Size], found: Sequence[dict[str, float] | str]) -> str:
    """What it comes to at full size: on the line through the last two workspaces, or through the only one and zero."""
    if not operation.grows_with:
        return "the same"
    known = [
        (float(getattr(size, operation.grows_with)), each["clock_s"])
        for size, each in zip(sizes, found, strict=True)
        if not isinstance(each, str)
    ]
    if not known:
        return "-"
    (before, before_s), (last, last_s) = [(0.0, 0.0), *known][-2:]
    slope = max(0.0, (last_s - before_s) / (last - before)) if last > before else 0.0
    full = getattr(FULL_SIZE, operation.grows_with)
    return f"{last_s + slope * (full - last):.3g} s ({slope * 1e6:.3g} us of {operation.grows_with})"


def rows(workspaces: Sequence[Path], sizes: Sequence[Size], only: Sequence[str], *, timeout_s: float) -> Iterator[str]:
    yield "| operation | " + " | ".join(f"{size.shards:,} shards" for size in sizes) + " | growth | 1.1 billion masks |"
    yield "| --- |" + " --- |" * (len(sizes) + 2)
    for name, operation in operations().items():
        if only and name not in only:
            continue
        found = [measured(workspace, name, timeout_s=timeout_s) for workspace in workspaces]
        first, last = found[0], found[-1]
        growth = "-"
        if not isinstance(first, str) and not isinstance(last, str):
            growth = f"{last['processor_s'] / max(first['processor_s'], 1e-9):.2g} x"
        cells = [operation.title, *map(told, found), growth, at_full_size(operation, sizes, found)]
        yield "| " + " | ".join(cells) + " |"


@cache
def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def head(sizes: Sequence[Size]) -> Iterator[str]:
    yield "# Scale\n"
    yield f"`{' '.join(['python -m benchmarks.scale', *sys.argv[1:]])}`\n"
    yield (
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"deltalake {deltalake.__version__}, pyarrow {pa.__version__}\n"
    )
    for size in sizes:
        yield f"- {size.shards:,} shards: {size.images:,} images, {size.masks:,} masks, made for real"
    yield (
        f"- extrapolated: {FULL_SIZE.shards:,} shards, {FULL_SIZE.images:,} images, {FULL_SIZE.masks:,} masks: on "
        "the line through the last two workspaces, by what an operation goes through\n"
    )
    yield "Seconds by the clock (of the processor), and memory above that of the opened workspace.\n"


def main(
    folder: Annotated[Path, typer.Option(help="Where the workspaces are made, and kept.")],
    shards: Annotated[str, typer.Option(help="Sizes, with commas between.")] = "100,1000",
    images_per_shard: Annotated[int, typer.Option(help="Images of a shard.")] = 10,
    masks: Annotated[int, typer.Option(help="Masks of an image.")] = 2,
    only: Annotated[str, typer.Option(help="Names of operations, with commas between.")] = "",
    output: Annotated[Path | None, typer.Option(help="A file to write the tables to as well.")] = None,
    timeout_s: Annotated[float, typer.Option(help="Of one operation.")] = 900,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Build workspaces and measure every operation on each."""
    if one:
        print(json.dumps(measure(folder, one)))
        return
    sizes = [Size(int(each), images_per_shard, masks) for each in shards.split(",")]
    workspaces = [
        build(folder / f"{size.shards}x{size.images_per_shard}x{size.masks_per_image}", size) for size in sizes
    ]
    lines = []
    parts = (head(sizes), rows(workspaces, sizes, [each for each in only.split(",") if each], timeout_s=timeout_s))
    for part in (*parts, [""], bytes_lines(workspaces, sizes)):
        for line in part:
            print(line, flush=True)
            lines.append(line)
    if output is not None:
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
