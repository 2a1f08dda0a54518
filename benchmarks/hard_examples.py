"""Whether a round learns more when pictures with hard masks come more often (`retraining.hard_weight`).

    python -m benchmarks.hard_examples WORKSPACE DATA/loop/nuclei/all.json --round 2 --weight 1 --weight 3

WORKSPACE is one that `benchmarks.loop` left: the masks are those of its simulated annotator, all up to the round. With
every weight and seed a model is trained on them, by the recipe of a round's retraining without replayed pictures, and
goes a share of the way from the start model. All are measured on the same held-out masks; intervals are paired 95 %
bootstrap intervals of the difference from the first weight with the same seed.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.loop import held_out
from benchmarks.picture_choice import CLICKS, Floats, taught
from engine.evaluation.bootstrap import bootstrap_difference
from engine.evaluation.points import evaluate_points
from engine.files import write_atomic
from engine.samples import CocoSamples
from engine.snapshots import training_samples
from engine.store import Store
from flows.allocator import keep_freed_memory
from model.predictor import Predictor
from stages.model_choice import SHARES


def scores(
    file: Path, store: Store, masks: CocoSamples, *, number: int, weight: float, seed: int, steps: int
) -> Floats:
    """(len(CLICKS), N) IoUs of the held-out masks; kept in a file."""
    if not file.is_file():
        samples = training_samples(
            store,
            tables_versions=store.versions(),
            selection="accumulated",
            stage="assisted_manual",
            round=number,
            hard_weight=weight,
        )
        start = store.files.settings().model.start
        sam = taught(start, samples, steps, SHARES[0], file.with_suffix(""), weights=samples.weights, seed=seed)
        found = evaluate_points(Predictor(sam), (masks[index] for index in range(len(masks))), clicks=CLICKS)
        write_atomic(file, json.dumps([found[clicks].confident.tolist() for clicks in CLICKS]).encode())
    return np.array(json.loads(file.read_bytes()))


def row(weight: float, seed: int, ious: Floats, first: Floats) -> str:
    """A line of the table. first: of the weight that it is compared with."""
    cells = [f"{weight:g}", str(seed)]
    for before, after in zip(first, ious, strict=True):
        low, high = bootstrap_difference(before, after)
        change = "" if ious is first else f", {(after - before).mean():+.3f} ({low:+.3f} to {high:+.3f})"
        cells.append(f"{after.mean():.3f}{change}")
    return "| " + " | ".join(cells) + " |"


def main(
    workspace: Annotated[Path, typer.Argument(help="Of benchmarks.loop.")],
    domain: Annotated[Path, typer.Argument(help="COCO file whose images say split: train or holdout.")],
    number: Annotated[int, typer.Option("--round", min=1, help="Of assisted_manual, up to which masks count.")],
    weight: Annotated[list[float], typer.Option(help="May be given again; others are compared with the first.")],
    seeds: Annotated[int, typer.Option(min=1, help="Of each weight.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Of each training.")] = 24,
    masks: Annotated[int, typer.Option(min=1, help="Held-out masks to measure on.")] = 150,
    folder: Annotated[Path, typer.Option(help="Where what was found is kept.")] = Path("runs/hard_examples"),
) -> None:
    """Train with every weight and seed that is missing, and print a table."""
    keep_freed_memory()
    store, measured = Store(workspace), held_out(domain, None).sampled(max_masks=masks)
    heads: Sequence[str] = ["hard_weight", "seed", *(f"{clicks} click{'s' * (clicks > 1)}" for clicks in CLICKS)]
    for line in (heads, ["---"] * len(heads)):
        print("| " + " | ".join(line) + " |", flush=True)
    for seed in range(seeds):
        first: Floats | None = None
        for one in weight:
            file = folder / f"{domain.parent.name}-{number}-{one:g}-{seed}.json"
            ious = scores(file, store, measured, number=number, weight=one, seed=seed, steps=steps)
            first = ious if first is None else first
            print(row(one, seed, ious, first), flush=True)


if __name__ == "__main__":
    typer.run(main)
