"""The steps of a round: open it, have its images annotated, pass its gates, retrain on them."""

from collections.abc import Sequence, Set
from dataclasses import replace
from importlib import import_module
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.analysis.report import write_report
from engine.analysis.statistics import round_statistics
from engine.analysis.sums import ShardSums, sums_of_shards
from engine.analysis.team import team_statistics
from engine.annotation import AnnotationProgress
from engine.store import Store
from model.registry import find_model
from schemas.counted import counted
from schemas.errors import InputError
from schemas.round_metrics import RoundMetrics
from schemas.stages import ANNOTATED_STAGES, BUILTIN_WORKERS, INSTALLED_STAGES, Stage
from schemas.tables import ANNOTATIONS, MASKS, Round
from stages.annotation import AnnotationWorker
from stages.calibrating import calibrated_start
from stages.planning import Step, gates_of, model_for, use_of_last
from stages.progress import Progress
from stages.quality import move_gate
from stages.retraining import Retraining, retrain
from stages.shards import MapShards, ShardOutcome
from stages.unreadable import LISTED, check_unreadable, told_unreadable
from stages.workers import ShardWorker, images_by_shard


def worker_of(stage: Stage) -> type[ShardWorker]:
    """What does the work of a stage. Raises InputError where what a package brings is no worker of it."""
    place = BUILTIN_WORKERS.get(stage) or INSTALLED_STAGES[stage].worker
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
    message = f"round {step.round} is open: {counted(len(step.image_ids), 'image')}, model {start.name}"
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
    metrics = record.metrics.updated(_statistics(store, record, outcomes).to_dict() | worker.metrics())
    store.put_round(replace(record, state="annotated", metrics=metrics))
    left_out = list(metrics.images_left_out)
    skipped = sum(outcome.skipped for outcome in outcomes)
    there = f"{skipped} of {counted(len(shards), 'shard')} {'was' if skipped == 1 else 'were'}"
    return (
        f"{counted(metrics.masks or 0, 'mask')} on {counted(metrics.images or 0, 'image')}"
        + (f", generated at {metrics.generation.images_per_s:.3g} img/s" if metrics.generation else "")
        + (f", {there} there already" if skipped else "")
        + (f"; left out, since they take their process down: images {left_out}" if left_out else "")
        + (f"; left out, since they cannot be read: {_unreadable(metrics)}" if metrics.images_unreadable else "")
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


def retrain_round(store: Store, step: Step, progress: Progress, retraining: Retraining | None = None) -> str:
    """Retrain on the masks so far and write the report. Returns what was done, for people.

    retraining: what does it in the place of `stages.retraining.retrain`.
    """
    record = _record(store, step)
    trained = (retraining or retrain)(store, store.files.settings(), record, progress)
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


def _statistics(store: Store, record: Round, outcomes: Sequence[ShardOutcome]) -> RoundMetrics:
    """Of a round whose shards are committed: from sums, so that neither time nor memory goes with its masks."""
    sums = ShardSums()
    for of_shard in sums_of_shards(store, record.stage, record.round, {each.shard: each.key for each in outcomes}):
        sums.add(of_shard)
    unreadable = _left_out(record, sums, by_people=store.files.settings().annotator.by_people)
    statistics = round_statistics(sums, images=len(record.image_ids) - len(unreadable["images_unreadable"]))
    if unreadable["images_unreadable"] or record.metrics.images_unreadable:
        statistics = statistics.updated(unreadable)
    if sums.left_out:
        statistics = statistics.updated({"images_left_out": sums.left_out})
    return statistics.updated(team_statistics(*_given(store, record, {each.shard for each in outcomes})))


def _left_out(record: Round, sums: ShardSums, *, by_people: bool) -> dict[str, list[Any]]:
    """Keys of `RoundMetrics`, of pictures that could not be read: when they were to be shown to people, or worked on.

    Raises InputError where they are more than half.
    """
    if by_people and record.stage in ANNOTATED_STAGES:
        metrics = record.metrics
        return {"images_unreadable": [*metrics.images_unreadable], "why_unreadable": [*metrics.why_unreadable]}
    reasons = list(sums.unreadable.values())
    check_unreadable(f"{record.stage} round {record.round}", reasons, of=len(record.image_ids))
    return {"images_unreadable": sorted(sums.unreadable), "why_unreadable": reasons[:LISTED]}


def _unreadable(metrics: RoundMetrics) -> str:
    return told_unreadable(len(metrics.images_unreadable), metrics.why_unreadable)


def _given(store: Store, record: Round, shards: Set[str]) -> tuple[pa.Table, pa.Table]:
    """Masks of the images of a round that several people annotated, and all that its people gave."""
    masks, given = [MASKS.empty_table()], [ANNOTATIONS.empty_table()]
    for shard in sorted(shards & set(store.shards("annotations"))):
        rows = store.read_rows("annotations", shard=shard, stage=record.stage, round=record.round)
        twice = rows.filter(pc.invert(rows["valid"]))["image_id"].combine_chunks()
        if len(twice):
            found = store.read_shard(record.stage, shard, round=record.round)
            masks.append(found.filter(pc.is_in(found["image_id"], value_set=twice)))
        given.append(rows)
    return pa.concat_tables(masks), pa.concat_tables(given)
