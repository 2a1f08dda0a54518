"""A stage is a state machine over the store, moved by a tick: look at the state, do the next step, stop.

A round goes open -> annotated -> retrained. A cron run, a person and a flow can all move it; nothing has to stay alive
in between, and a step that was killed is done again without redoing the shards that are committed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import pyarrow as pa

from engine.analysis.generation import generation_statistics
from engine.analysis.report import write_report
from engine.analysis.statistics import round_statistics
from engine.delta import rows_where
from engine.store import Store
from model.registry import ModelInfo, find_model, list_models, model_roots
from model.storage import load_model
from schemas.config import CONFIG_FILE, STAGES, EngineConfig, Stage, load_config
from schemas.errors import InputError, WaitError
from schemas.tables import Round
from stages.annotators import SIMULATED
from stages.assisted_manual import AssistedManualWorker
from stages.calibrating import calibrated_start
from stages.fully_automatic import FullyAutomaticWorker
from stages.generator_threshold import THRESHOLD, threshold_for_precision
from stages.people import PeopleAtWork, PeopleSemiAutomaticWorker, PeopleWorker
from stages.prefill_threshold import PrefillThreshold
from stages.progress import Progress, silent
from stages.retraining import retrain
from stages.selection import PEOPLE_STAGES, images_of_next_round, rounds_of
from stages.semi_automatic import SemiAutomaticWorker
from stages.workers import ShardOutcome, ShardWorker, device_of, images_by_shard, serial

Action = Literal["open", "annotate", "generate", "retrain", "wait", "none"]
WORKERS: dict[Stage, type[ShardWorker]] = {
    "assisted_manual": AssistedManualWorker,
    "semi_automatic": SemiAutomaticWorker,
    "fully_automatic": FullyAutomaticWorker,
}
WORKERS_WITH_PEOPLE: dict[Stage, type[PeopleWorker]] = {
    "assisted_manual": PeopleWorker,
    "semi_automatic": PeopleSemiAutomaticWorker,
}


class MapShards(Protocol):
    """Applies a worker to shards, in any order and place; gives the outcomes back."""

    def __call__(self, function: Callable[[str], ShardOutcome], shards: Sequence[str], /) -> Sequence[ShardOutcome]: ...


@dataclass(frozen=True)
class Step:
    """What a stage does next. message: for people; with "wait", what is missing and the command for it."""

    stage: Stage
    action: Action
    round: int
    message: str
    image_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class TickResult:
    """What a tick did.

    state: "advanced" where there may be more to do at once, "waiting" where people have to work first, "done" where the
    stage has nothing left.
    """

    stage: Stage
    action: Action
    round: int
    message: str
    state: Literal["advanced", "waiting", "done"]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def parse_stage(name: str) -> Stage:
    """A stage by name, with "-" or "_". Raises InputError naming the stages there are."""
    wanted = name.replace("-", "_")
    for stage in STAGES:
        if wanted == stage:
            return stage
    raise InputError(f"unknown stage {name!r}; choose one of {', '.join(STAGES)}")


def tick(store: Store, stage: Stage, *, map_shards: MapShards = serial, progress: Progress = silent) -> TickResult:
    """Do the next step of a stage: open a round, annotate or generate its shards, or retrain.

    Where people annotate, that step publishes what is missing and collects what is done; it waits until enough is.

    Raises WaitError, naming what is missing and the command for it, where the stage may not go on yet.
    """
    step = next_step(store, stage)
    if step.action == "wait":
        raise WaitError(step.message)
    if step.action == "none":
        return TickResult(stage, "none", step.round, step.message, "done")
    if step.action == "open":
        message = _open(store, step, progress)
    elif step.action == "retrain":
        message = _retrain(store, step, progress)
    else:
        people = _people_at_work(store, step, progress)
        if people is not None and not people.finished:
            return TickResult(stage, step.action, step.round, people.message, "waiting")
        message = _annotate(store, step, map_shards, progress)
    return TickResult(stage, step.action, step.round, message, "advanced")


def next_step(store: Store, stage: Stage) -> Step:
    """Look at the store and say what the stage does next; changes nothing."""
    config = load_config(store.workspace)
    rounds = store.rounds()
    own = [record for record in rounds if record.stage == stage]
    current = own[-1] if own else None
    if current and current.state == "open":
        action: Action = "generate" if stage == "fully_automatic" else "annotate"
        people = stage in PEOPLE_STAGES and config.annotator.kind != SIMULATED
        who = ", by people in Label Studio" if people else ""
        return Step(stage, action, current.round, f"{action} {len(current.image_ids)} images{who}")
    if current and current.state == "annotated":
        return Step(stage, "retrain", current.round, "retrain on the masks so far")
    missing = None if own else _missing_before(store, config, stage, rounds)
    if missing:
        return Step(stage, "wait", 0, missing)
    number = len(own) + 1
    image_ids = tuple(images_of_next_round(store, config, stage, rounds))
    if image_ids:
        return Step(stage, "open", number, f"open round {number} with {len(image_ids)} images", image_ids)
    if not own and stage == "assisted_manual":
        return Step(stage, "wait", 0, _no_image_to_start_with(store))
    use = _use_of_last(store, own[-1]) if own else ""
    return Step(stage, "none", len(own), _why_done(config, stage, len(own)) + use)


def is_finished(store: Store, config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> bool:
    """Whether a stage is through: its rounds are retrained, and no further one is due or has images."""
    own = [record for record in rounds if record.stage == stage]
    if any(record.state != "retrained" for record in own):
        return False
    if stage == "assisted_manual" and not own:
        return False
    return not images_of_next_round(store, config, stage, rounds)


def model_for(config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> str:
    """The model a round of this stage starts from: that of the last retraining before it, else the start model.

    The fully automatic stage always generates with the model of the people's stages, so that all its masks are alike.
    """
    upto = [name for name in STAGES[: STAGES.index(stage) + 1] if name != "fully_automatic"]
    trained = [record.model_after for record in rounds if record.stage in upto and record.model_after]
    return trained[-1] if trained else config.model.start


def _missing_before(store: Store, config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> str | None:
    """What must happen before the first round of a stage; None where nothing is missing."""
    for earlier in STAGES[: STAGES.index(stage)]:
        if not is_finished(store, config, earlier, rounds):
            done = sum(record.stage == earlier and record.state == "retrained" for record in rounds)
            return (
                f"{stage} needs the model that is retrained at the end of {earlier}, which has finished {done} of "
                f"{rounds_of(config, earlier)} rounds; run: sam-engine run {earlier} {store.workspace} --until-done"
            )
    model = model_for(config, stage, rounds)
    if stage != "assisted_manual" and model not in {
        info.model_id for info in list_models(model_roots(store.workspace))
    }:
        return (
            f"{stage} needs model {model}, which the last retraining made, but it is not in {store.workspace}/models; "
            "put its folder back"
        )
    return None


def _open(store: Store, step: Step, progress: Progress) -> str:
    config, rounds = load_config(store.workspace), store.rounds()
    start = find_model(model_for(config, step.stage, rounds), model_roots(store.workspace))
    if not rounds:
        start = calibrated_start(store, config, start, progress)
    chosen = _generator_threshold(store, config, start, progress) if step.stage == "fully_automatic" else None
    metrics = {} if chosen is None else {THRESHOLD: asdict(chosen)}
    store.put_round(Round(step.stage, step.round, step.image_ids, "open", model_before=start.model_id, metrics=metrics))
    message = f"round {step.round} is open: {len(step.image_ids)} images, model {start.name}"
    return (
        message if chosen is None else f"{message}; {chosen.summary('no mask passes; lower fully_automatic.precision')}"
    )


def _generator_threshold(
    store: Store, config: EngineConfig, model: ModelInfo, progress: Progress
) -> PrefillThreshold | None:
    """The threshold for the precision that the settings ask for; None where they ask for none."""
    settings = config.fully_automatic
    if settings.precision is None:
        return None
    sam, _ = load_model(model.model_id, model_roots(store.workspace), device=device_of(config.model.device))
    chosen = threshold_for_precision(
        store,
        sam,
        settings.generator_config(),
        precision=settings.precision,
        seed=config.seed,
        progress=progress,
    )
    if chosen is None:
        raise WaitError(
            f"fully_automatic.precision in {store.workspace / CONFIG_FILE} needs held-out images with ground truth, "
            "and there are none; ingest some, or set it to null"
        )
    return chosen


def _people_at_work(store: Store, step: Step, progress: Progress) -> PeopleAtWork | None:
    """How far people are, after publishing and collecting; None where nobody has to work."""
    config = load_config(store.workspace)
    if step.stage not in PEOPLE_STAGES or config.annotator.kind == SIMULATED:
        return None
    worker = WORKERS_WITH_PEOPLE[step.stage](store.workspace, step.round, progress)
    return worker.at_work.move(worker)


def _annotate(store: Store, step: Step, map_shards: MapShards, progress: Progress) -> str:
    record = _record(store, step)
    shards = images_by_shard(store, record.image_ids)
    simulated = load_config(store.workspace).annotator.kind == SIMULATED
    kinds = WORKERS if simulated else WORKERS | WORKERS_WITH_PEOPLE
    worker = kinds[step.stage](store.workspace, step.round, progress)
    outcomes = map_shards(worker, list(shards))
    metrics = record.metrics | _statistics(store, record, list(shards)) | worker.metrics()
    store.put_round(replace(record, state="annotated", metrics=metrics))
    skipped = sum(outcome.skipped for outcome in outcomes)
    return (
        f"{metrics['masks']} masks on {metrics['images']} images"
        + (f", generated at {metrics['generation']['images_per_s']:.3g} img/s" if "generation" in metrics else "")
        + (f", {skipped} of {len(shards)} shards were there already" if skipped else "")
        + (" (simulated annotator)" if step.stage in PEOPLE_STAGES and simulated else "")
    )


def _retrain(store: Store, step: Step, progress: Progress) -> str:
    record = _record(store, step)
    trained = retrain(store, load_config(store.workspace), record, progress)
    metrics = record.metrics | trained.metrics
    store.put_round(replace(record, state="retrained", model_after=trained.used, metrics=metrics))
    write_report(store)
    use = _use_of_last(store, replace(record, model_after=trained.model_id, metrics=metrics))
    return f"model {trained.model_id}; {_measured(metrics)}" + _not_used(metrics) + use


def _use_of_last(store: Store, record: Round) -> str:
    """What the model of the last stage's retraining is for, since `model_for` gives it to no round; "" elsewhere."""
    if record.stage != "fully_automatic" or not record.metrics.get("guard", {}).get("accepted", True):
        return ""
    models = store.workspace / "models"
    folder = next((known.folder for known in list_models([models]) if known.model_id == record.model_after), models)
    return (
        f"; that model made none of the masks here: it is for sam-engine generate -m {folder}, and for model.start of "
        "another workspace"
    )


def _measured(metrics: Mapping[str, Any]) -> str:
    if "miou_after" not in metrics:
        return "no image is held out, so it was not measured"
    where = "held-out images" if metrics["measured_on"] == "holdout" else "images that were set aside"
    low, high = metrics["miou_change"]
    return (
        f"mIoU at 1 click on {metrics['measured_images']} {where} {metrics['miou_before']:.3f} -> "
        f"{metrics['miou_after']:.3f} ({low:+.3f} to {high:+.3f})"
    )


def _not_used(metrics: Mapping[str, Any]) -> str:
    guard = metrics["guard"]
    return "" if guard["accepted"] else f"; the next round does not use it: {guard['reason']}"


def _record(store: Store, step: Step) -> Round:
    return next(record for record in store.rounds(step.stage) if record.round == step.round)


def _statistics(store: Store, record: Round, shards: Sequence[str]) -> dict[str, Any]:
    def read(table: str) -> pa.Table:
        parts = [store.read_shard(table, shard, round=record.round) for shard in shards]
        return rows_where(pa.concat_tables(parts), stage=record.stage)

    statistics = round_statistics(read(record.stage), read("events"), images=len(record.image_ids))
    generation = read("generation")
    return statistics | ({"generation": generation_statistics(generation)} if len(generation) else {})


def _no_image_to_start_with(store: Store) -> str:
    count = store.counts()["images"]
    command = f"sam-engine ingest {store.workspace} SOURCE..."
    if count == 0:
        return f"{store.workspace} has no images; run: {command}"
    return (
        f"none of the {count} images of {store.workspace} has ground truth outside the holdout, which the simulated "
        f"annotator clicks from; add a COCO json with masks: {command}"
    )


def _why_done(config: EngineConfig, stage: Stage, rounds: int) -> str:
    if stage == "fully_automatic":
        return "all images have automatic masks, and the model is retrained on them"
    if rounds >= rounds_of(config, stage):
        return f"all {rounds} rounds are done"
    return (
        f"ended early after {rounds} of {rounds_of(config, stage)} rounds: no image with ground truth is left that is "
        "neither annotated nor held out"
    )
