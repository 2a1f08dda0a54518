"""What the whole loop brings on one kind of pictures: the real stages, a simulated annotator, figures every round.

    python -m benchmarks.loop DATA/loop/field_plants/all.json --old DATA/bsds500/val.json
    python -m benchmarks.loop DATA/facade_night/train.json --holdout DATA/facade_night/val.json \\
        --images 36 --old DATA/bsds500/val.json --old DATA/coco_mini/val.json

The domain is a COCO file whose images say `split` (train or holdout), or one file to learn from and one that is held
out. Every round is measured with the model that it hands on, on masks of the held-out pictures and of the old domains,
the same masks for all rounds; intervals are paired 95 % bootstrap intervals of the change since the start model.
The engine chooses on the held-out pictures how far a model goes, and calibrates its predicted IoU there. That flatters
their figures, and those of the predicted IoU most: it was fitted to these masks.
Seconds and clicks are the simulated annotator's. Automatic masks are those of the last stage's generator settings on
the held-out pictures; their precision means something only where ground truth shows everything.
"""

import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from matplotlib.figure import Figure

from engine.evaluation.automatic import AutomaticScores, evaluate_automatic, generated_by
from engine.evaluation.bootstrap import bootstrap_difference
from engine.evaluation.model_scores import ModelScores, score_model
from engine.ingest import ingest
from engine.masks.generator import MaskGenerator
from engine.samples import CocoSamples
from engine.store import Store
from flows.allocator import keep_freed_memory
from flows.console import progress_bars
from flows.settings import parse_settings
from model.predictor import Predictor
from model.registry import find_model, model_roots
from model.storage import load_model
from schemas.config import CONFIG_FILE
from schemas.round_metrics import RoundMetrics
from schemas.stages import STAGES
from schemas.tables import Round
from stages.progress import Progress
from stages.rounds import tick

NEW = "held out"
SCORES = {"miou": "1 click", "miou_oracle": "best of 3", "miou_3": "3 clicks", "miou_box": "box"}


@dataclass(frozen=True)
class Subject:
    """A set of masks to measure on. pictures: of NEW, those that automatic masks are looked for on."""

    name: str
    masks: CocoSamples
    pictures: CocoSamples | None = None


@dataclass
class Measured:
    """A model: its scores by subject, and its automatic masks on the held-out pictures (None: not looked for)."""

    scores: dict[str, ModelScores]
    automatic: AutomaticScores | None = None


@dataclass
class Bench:
    """What does not change from round to round, and what was measured so far, by model."""

    store: Store
    subjects: list[Subject]
    known: dict[str, Measured] = field(default_factory=dict)

    def measure(self, model_id: str, *, automatic: bool) -> Measured:
        """Scores of a model on all subjects; measured once."""
        sam, _ = load_model(model_id, model_roots(self.store.workspace))
        predictor = Predictor(sam)
        found = self.known.get(model_id)
        if found is None:
            found = self.known[model_id] = Measured(dict(self._scores(predictor)))
        pictures = self.subjects[0].pictures
        if automatic and found.automatic is None and pictures is not None:
            config = self.store.files.settings().fully_automatic.generator_config()
            generator = MaskGenerator(predictor, config)
            some = (pictures[index] for index in range(len(pictures)))
            found.automatic = evaluate_automatic(generated_by(generator), some)
        return found

    def _scores(self, predictor: Predictor) -> Iterator[tuple[str, ModelScores]]:
        for subject in self.subjects:
            scores = score_model(predictor, (subject.masks[index] for index in range(len(subject.masks))))
            if scores is not None:
                yield subject.name, scores


def make_workspace(
    folder: Path, domain: Path, holdout: Path | None, images: int | None, settings: dict[str, Any]
) -> Store:
    """A workspace of the domain's pictures; one that is there already is gone on with."""
    store = Store.create(folder)
    (folder / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
    files = [(domain, "train" if holdout else None, images)] + ([(holdout, "holdout", None)] if holdout else [])
    for file, split, most in files:
        copy = folder / f"domain-{split or 'all'}.json"
        copy.write_text(json.dumps(_with_split(file, split, most)), encoding="utf-8")
        report = ingest(store, [copy], images_root=file.parent)
        if report.rejected:
            raise SystemExit(f"{report.rejected[0].source}: {report.rejected[0].reason}")
    return store


def _with_split(file: Path, split: str | None, most: int | None) -> dict[str, Any]:
    """A COCO file's values, its images marked with a split, and of them a random choice of at most `most`."""
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    images = values["images"]
    if most is not None and most < len(images):
        images = [images[at] for at in sorted(np.random.default_rng(0).permutation(len(images))[:most])]
    ids = {image["id"] for image in images}
    values["images"] = [image | ({"split": split} if split else {}) for image in images]
    values["annotations"] = [one for one in values["annotations"] if one["image_id"] in ids]
    return values


def held_out(domain: Path, holdout: Path | None) -> CocoSamples:
    """The pictures that are held out, with their masks."""
    if holdout is not None:
        return CocoSamples([holdout])
    records = json.loads(domain.read_text(encoding="utf-8"))["images"]
    files = {(domain.parent / record["file_name"]).resolve() for record in records if record.get("split") == "holdout"}
    found = CocoSamples([domain]).filtered(lambda path: path.resolve() in files)
    if found is None:
        raise SystemExit(f"{domain}: no image says split: holdout; give another file with --holdout")
    return found


def run(bench: Bench, progress: Progress, *, automatic: str) -> Iterator[tuple[Round | None, Measured]]:
    """The start model, then every round with the model that it hands on, as each is done.

    automatic: look for automatic masks with "each" model, with those at the "ends", or "never".
    """
    store = bench.store
    start = find_model(store.files.settings().model.start, model_roots(store.workspace)).model_id
    yield None, bench.measure(start, automatic=automatic != "never")
    done: set[tuple[str, int]] = set()
    for stage in STAGES:
        while tick(store, stage, progress=progress).state == "advanced":
            for record in store.rounds(stage):
                if record.state == "retrained" and (stage, record.round) not in done:
                    done.add((stage, record.round))
                    look = automatic == "each" or (automatic == "ends" and stage != STAGES[0])
                    yield record, bench.measure(record.model_after, automatic=look)


def row(record: Round | None, found: Measured, start: Measured) -> list[str]:
    """Cells of the table: what the round cost, then each subject's scores with the interval of the change."""
    metrics = record.metrics if record else RoundMetrics()
    name = "start" if record is None else f"{record.stage.replace('_', ' ')} {record.round}"
    kept = [metrics.prefilled_kept_frac, metrics.prefilled_edited_frac, metrics.prefilled_deleted_frac]
    people = record is not None and record.stage != STAGES[-1]
    cells = [
        name,
        f"{metrics.clicks_per_mask:.1f}" if people and metrics.clicks_per_mask is not None else "-",
        f"{metrics.seconds_per_mask:.1f}" if people and metrics.seconds_per_mask is not None else "-",
        f"{metrics.drawn or 0} of {metrics.masks or 0}" if people else "-",
        "-" if None in kept else " / ".join(f"{share:.0%}" for share in kept),
    ]
    for subject, scores in found.scores.items():
        names = SCORES if subject == NEW else ("miou", "miou_3")
        cells += [_score(scores, start.scores[subject], name) for name in names]
    new = found.scores[NEW].one_click
    cells.append(f"{new.predicted_iou_error:.3f} / {calibration_error(new.predicted, new.confident):.3f}")
    auto = found.automatic
    cells.append("-" if auto is None else f"{auto.recall:.2f} / {auto.precision:.2f} / {auto.masks_per_image:.0f}")
    cells.append("-" if record is None else "yes" if metrics.accepted else "no")
    return cells


def _score(after: ModelScores, before: ModelScores, name: str) -> str:
    values = after.by_name()[name], before.by_name()[name]
    if after is before:
        return f"{values[0].mean():.3f}"
    low, high = bootstrap_difference(values[1], values[0])
    return f"{values[0].mean():.3f} ({low:+.3f} to {high:+.3f})"


def calibration_error(predicted: Any, reached: Any, *, bins: int = 10) -> float:
    """Expected calibration error: how far the mean prediction of each of ten equal bins is from the mean IoU in it."""
    predicted, reached = np.asarray(predicted), np.asarray(reached)
    place = np.clip((predicted * bins).astype(int), 0, bins - 1)
    gaps = [abs((predicted - reached)[place == number].sum()) for number in range(bins)]
    return float(sum(gaps) / len(predicted))


def heads(subjects: list[Subject]) -> list[str]:
    """Titles of the table's columns."""
    titles = ["round", "clicks / mask", "s / mask", "drawn by hand", "kept / edited / deleted"]
    for subject in subjects:
        names = SCORES if subject.name == NEW else ("miou", "miou_3")
        titles += [f"{subject.name}: {SCORES[name]}" for name in names]
    return [*titles, "IoU off by / ECE", "auto recall / precision / masks", "used"]


def plot(rows: list[tuple[str, Measured]], path: Path) -> None:
    """mIoU of every subject from round to round, at 1 and at 3 clicks."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), ("miou", "miou_3"), strict=True):
        for subject in rows[0][1].scores:
            means = [found.scores[subject].means()[name] for _, found in rows]
            axes.plot(range(len(rows)), means, marker="o", label=subject)
        axes.set_xticks(range(len(rows)), [title.replace(" ", "\n") for title, _ in rows], fontsize=7)
        axes.set_title(f"mIoU at {SCORES[name]}", fontsize=9)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=150)


def main(
    domain: Annotated[Path, typer.Argument(help="COCO file of the new kind of pictures.")],
    workspace: Annotated[Path, typer.Option(help="Folder of the workspace; gone on with if it is there.")] = Path(
        "runs/loop"
    ),
    holdout: Annotated[Path | None, typer.Option(help="COCO file that is held out, where DOMAIN has no split.")] = None,
    images: Annotated[int | None, typer.Option(help="Learn from so many pictures of DOMAIN, with --holdout.")] = None,
    old: Annotated[list[Path] | None, typer.Option(help="COCO file of a domain that must not be forgotten.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Start model.")] = "nano",
    rounds: Annotated[int, typer.Option(min=1, help="Of assisted_manual.")] = 2,
    semi_rounds: Annotated[int, typer.Option(min=1, help="Of semi_automatic.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the workspace.")] = 0,
    new_masks: Annotated[int, typer.Option(min=1, help="Held-out masks to measure on.")] = 150,
    old_masks: Annotated[int, typer.Option(min=1, help="Masks of each old domain.")] = 80,
    automatic: Annotated[str, typer.Option(help="Automatic masks of each model, of the ends, or never.")] = "ends",
    settings: Annotated[list[str] | None, typer.Option("--set", help="SECTION.KEY=VALUE of engine.yaml.")] = None,
) -> None:
    """Run the loop and print a table of its rounds; files go to WORKSPACE."""
    keep_freed_memory()
    values: dict[str, Any] = {
        "seed": seed,
        "model": {"start": model},
        "assisted_manual": {"rounds": rounds},
        "semi_automatic": {"rounds": semi_rounds},
    }
    for key, value in parse_settings(settings or []).items():
        section, _, name = key.partition(".")
        values[section] = values.get(section, {}) | {name: value}
    store = make_workspace(workspace, domain, holdout, images, values)
    pictures = held_out(domain, holdout)
    subjects = [Subject(NEW, pictures.sampled(max_masks=new_masks), pictures)]
    for file in old or []:
        subjects.append(Subject(file.parent.name, CocoSamples([file]).sampled(max_masks=old_masks, min_area_px=100)))
    bench = Bench(store, subjects)
    versions = f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}"
    print(f"{domain.parent.name}, {model}, seed {seed}, settings: {settings or 'defaults'}; {versions}\n")
    for line in (heads(subjects), ["---"] * len(heads(subjects))):
        print("| " + " | ".join(line) + " |", flush=True)
    shown: list[tuple[str, Measured]] = []
    started = time.perf_counter()
    with progress_bars() as progress:
        for record, found in run(bench, progress, automatic=automatic):
            cells = row(record, found, shown[0][1] if shown else found)
            shown.append((cells[0], found))
            print("| " + " | ".join(cells) + " |", flush=True)
    plot(shown, workspace / "loop.png")
    counts = ", ".join(f"{len(scores.one_click.confident)} {name}" for name, scores in shown[0][1].scores.items())
    seconds = time.perf_counter() - started
    print(f"\nMasks measured: {counts}. {seconds:.0f} s with all measuring; curves: {workspace / 'loop.png'}")


if __name__ == "__main__":
    typer.run(main)
