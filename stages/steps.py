"""The steps of a round: open it, have its images annotated, pass its gates, retrain on them."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

import pyarrow as pa

from engine.analysis.generation import generation_statistics
from engine.analysis.report import write_report
from engine.analysis.statistics import round_statistics
from engine.analysis.team import team_statistics
from engine.annotation import AnnotationProgress
from engine.delta import rows_where
from engine.store import Store
from model.registry import find_model
from schemas.errors import InputError
from schemas.round_metrics import RoundMetrics
from schemas.stages import ANNOTATED_STAGES, INSTALLED_STAGES, Stage
from schemas.tables import Round
from stages.annotation import AnnotationWorker
from stages.assisted_manual import AssistedManualWorker
from stages.calibrating import calibrated_start
from stages.fully_automatic import FullyAutomaticWorker
from stages.planning import Step, gates_of, model_for, use_of_last
from stages.progress import Progress
from stages.quality import move_gate
from stages.retraining import retrain
from stages.semi_automatic import SemiAutomaticWorker
from stages.shards import MapShards
from stages.workers import ShardWorker, images_by_shard

BUILTIN_WORKERS: dict[Stage, type[ShardWorker]] = {
    "assisted_manual": AssistedManualWorker,
    "semi_automatic": SemiAutomaticWorker,
    "fully_automatic": FullyAutomaticWorker,
}


def worker_of(stage: Stage) -> type[ShardWorker]:
    """What does the work of a stage. Raises InputError where what a package brings is no worker of it."""
    if stage in BUILTIN_WORKERS:
        return BUILTIN_WORKERS[stage]
    place = INSTALLED_STAGES[stage].worker
    module, _, name = place.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # whatever somebody else's module does must not look like a fault of ours
        told = " ".join(str(error).split())
        raise InputError(f"stage {stage}: {place} does not load: {type(error).__name__}: {told}") from error
    if not (isinstance(found, type) and issubclass(found, ShardWorker) and getattr(found, "stage", "") == stage):
        raise InputError(f"stage {stage}: {place} is no ShardWorker whose stage is {stage!r}; see docs/extending.md")
    return found


def open_round(store: Store, step: Step, progress: Progress) -> str:
    """Store a new round with the images and the model that it works with. Returns what was done, for people."""
    config, rounds = store.files.settings(), store.rounds()
    start = find_model(model_for(config, step.stage, rounds), store.files.model_roots())
    if not rounds:
        start = calibrated_start(store, config, start, progress)
    store.create_table(step.stage)
    opening = worker_of(step.stage).opening(store, config, start, progress)
    place = (step.stage, step.round, step.image_ids)
    store.put_round(Round(*place, "open", model_before=start.model_id, metrics=opening.metrics))
    message = f"round {step.round} is open: {len(step.image_ids)} images, model {start.name}"
    return f"{message}; {opening.message}" if opening.message else message


def wait_for_annotators(store: Store, step: Step, progress: Progress) -> AnnotationProgress:
    """How far annotators are, after they were shown what is missing and what they have done was read."""
    worker = worker_of(step.stage)(store.files, step.round, progress)
    return worker.move() if isinstance(worker, AnnotationWorker) else AnnotationProgress(finished=True)


def annotate(store: Store, step: Step, map_shards: MapShards, progress: Progress) -> str:
    """Make the masks of a round, shard by shard, and count them. Returns what was done, for people."""
    record = _record(store, step)
    shards = images_by_shard(store, record.image_ids)
    simulated = not store.files.settings().annotator.by_people
    worker = worker_of(step.stage)(store.files, step.round, progress)
    outcomes = map_shards(worker, list(shards))
    metrics = record.metrics.updated(_statistics(store, record, list(shards)).to_dict() | worker.metrics())
    store.put_round(replace(record, state="annotated", metrics=metrics))
    skipped = sum(outcome.skipped for outcome in outcomes)
    return (
        f"{metrics.masks} masks on {metrics.images} images"
        + (f", generated at {metrics.generation.images_per_s:.3g} img/s" if metrics.generation else "")
        + (f", {skipped} of {len(shards)} shards were there already" if skipped else "")
        + (" (simulated annotator)" if step.stage in ANNOTATED_STAGES and simulated else "")
    )


def pass_gates(store: Store, step: Step, progress: Progress) -> tuple[bool, str]:
    """Move the gates of a round, one after the other: of an image that one sends back the next does not ask.

    Returns whether all are passed, and what was done, for people.
    """
    messages = []
    for gate in gates_of(store.files.settings(), step.stage):
        found = move_gate(store, gate, stage=step.stage, round=step.round, progress=progress)
        messages.append(found.message)
        if not found.finished:
            return False, "; ".join(messages)
    store.put_round(replace(_record(store, step), state="verified"))
    return True, "; ".join(messages)


def retrain_round(store: Store, step: Step, progress: Progress) -> str:
    """Retrain on the masks so far and write the report. Returns what was done, for people."""
    record = _record(store, step)
    trained = retrain(store, store.files.settings(), record, progress)
    metrics = record.metrics.updated(trained.metrics.to_dict())
    store.put_round(replace(record, state="retrained", model_after=trained.used, metrics=metrics))
    write_report(store)
    use = use_of_last(store, replace(record, model_after=trained.model_id, metrics=metrics))
    return f"model {trained.model_id}; {_measured(metrics)}" + _not_used(metrics) + use


def _measured(metrics: RoundMetrics) -> str:
    miou = metrics.score("miou")
    if miou.after is None or miou.change is None:
        return "no image is held out, so it was not measured"
    where = "held-out images" if metrics.measured_on == "holdout" else "images that were set aside"
    low, high = miou.change
    return (
        f"mIoU at 1 click on {metrics.measured_images} {where} {miou.before:.3f} -> "
        f"{miou.after:.3f} ({low:+.3f} to {high:+.3f})"
    )


def _not_used(metrics: RoundMetrics) -> str:
    guard = metrics.guard
    return "" if guard is None or guard.accepted else f"; the next round does not use it: {guard.reason}"


def _record(store: Store, step: Step) -> Round:
    return next(record for record in store.rounds(step.stage) if record.round == step.round)


def _statistics(store: Store, record: Round, shards: Sequence[str]) -> RoundMetrics:
    def read(table: str) -> pa.Table:
        parts = [store.read_shard(table, shard, round=record.round) for shard in shards]
        return rows_where(pa.concat_tables(parts), stage=record.stage)

    masks = read(record.stage)
    statistics = round_statistics(masks, read("events"), images=len(record.image_ids))
    statistics = statistics.updated(team_statistics(masks, read("annotations")))
    generation = read("generation")
    if not len(generation):
        return statistics
    return statistics.updated({"generation": generation_statistics(generation).to_dict()})
