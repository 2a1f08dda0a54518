"""An ablation at small scale: a workspace that the simulated annotator fills, then `sam-engine ablate` on it.

    python -m benchmarks.ablation DATA/facade_night/train.json --holdout DATA/facade_night/val.json --images 24

The domain is a COCO file whose images say `split` (train or holdout), or one file to learn from and one that is held
out, as of `benchmarks.loop`. The stages run once each with short retrainings, until automatic masks are there. Then
the trainings of all curves but that of encoders run, from the start model, without pictures of what it knew, and are
measured on masks of the held-out pictures. It goes on where it was stopped.
"""

import json
import platform
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.loop import held_out, make_workspace
from engine.store import Store
from flows.allocator import keep_freed_memory
from flows.console import progress_bars
from schemas.ablation import Ablation
from schemas.stages import BUILTIN_STAGES
from schemas.suite import SuiteSet
from stages.ablation import AblationRun
from stages.progress import Progress
from stages.rounds import tick

_STAGES = {
    "assisted_manual": {"rounds": 1},
    "semi_automatic": {"rounds": 1},
    "fully_automatic": {"generator": {"points_per_side": 16}},
    "retraining": {"steps": 20, "masks_per_image": 4, "averaging": False},
}


def fill(store: Store, progress: Progress) -> None:
    """Run the stages until each has masks; the retraining on automatic ones is not needed."""
    for stage in BUILTIN_STAGES:
        while not (stage == BUILTIN_STAGES[-1] and any(record.state != "open" for record in store.rounds(stage))):
            if tick(store, stage, progress=progress).state != "advanced":
                break


def write_holdout(domain: Path, holdout: Path | None, folder: Path) -> Path:
    """A COCO file of the pictures that are held out alone."""
    paths = {path.resolve() for path in held_out(domain, holdout).paths}
    source = holdout or domain
    values: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    images = [one for one in values["images"] if (source.parent / one["file_name"]).resolve() in paths]
    ids = {one["id"] for one in images}
    masks = [one for one in values["annotations"] if one["image_id"] in ids]
    file = folder / "holdout.json"
    file.write_text(json.dumps(values | {"images": images, "annotations": masks}), encoding="utf-8")
    return file


def main(
    domain: Annotated[Path, typer.Argument(help="COCO file of the pictures to learn from.")],
    workspace: Annotated[Path, typer.Option(help="Folder of the workspace; gone on with if it is there.")] = Path(
        "runs/ablation"
    ),
    holdout: Annotated[Path | None, typer.Option(help="COCO file that is held out, where DOMAIN has no split.")] = None,
    images: Annotated[int | None, typer.Option(help="Learn from so many pictures of DOMAIN, with --holdout.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of every training, of two pictures each.")] = 30,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings a point.")] = 1,
    masks: Annotated[int, typer.Option(min=1, help="Held-out masks to measure on.")] = 120,
) -> None:
    """Fill a workspace, ablate it, and print the page."""
    keep_freed_memory()
    started = time.perf_counter()
    store = make_workspace(workspace, domain, holdout, images, _STAGES)
    phase = {"until": steps, "batch_size": 2, "masks_per_image": 6, "correction_points": 1, "mask_only_rounds": False}
    with progress_bars() as progress:
        fill(store, progress)
        pictures = str((holdout or domain).parent)
        file = write_holdout(domain, holdout, workspace)
        ablation = Ablation(
            sets={domain.parent.name: SuiteSet(coco=(str(file),), images=pictures, max_masks=masks)},
            output=str(workspace / "ablation"),
            experiments=("stages", "data", "points"),
            data=(0.1, 1.0),
            points_per_side=(4, 16),
            clicks=(1, 3),
            settings={"phases": [phase]},
            steps=steps,
            replay_frac=0,
            seeds=tuple(range(seeds)),
        )
        run = AblationRun(store, ablation, progress=progress)
        for number in range(len(run.trainings)):
            run.train(number)
        run.report(run.measure())
    print((workspace / "ablation" / "ablation.md").read_text(encoding="utf-8"))
    versions = f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}"
    print(f"{versions}; {time.perf_counter() - started:.0f} s in this run")


if __name__ == "__main__":
    typer.run(main)
