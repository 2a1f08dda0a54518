"""What a stage does next, told from the store alone. Nothing here needs torch: `sam-engine status` answers at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.mirrors import models_here
from engine.store import Store
from model.registry import list_models
from schemas.config import EngineConfig
from schemas.counted import counted
from schemas.errors import InputError
from schemas.image_ids import ImageIds
from schemas.labeling import Gate
from schemas.stages import ANNOTATED_STAGES, STAGES, Stage
from schemas.tables import Round
from stages.approvals import Approval, missing, of_stage
from stages.selection import images_of_next_round, rounds_of
from stages.unreadable import lost_images

Action = Literal["open", "annotate", "generate", "verify", "retrain", "wait", "none"]


@dataclass(frozen=True)
class Step:
    """What a stage does next. message: for people; with "wait", what is missing and the command for it. approval: with
    "wait", what a person has to allow first, if that is missing."""

    stage: Stage
    action: Action
    round: int
    message: str
    image_ids: ImageIds = field(default_factory=ImageIds)
    approval: Approval | None = None


def parse_stage(name: str) -> Stage:
    """A stage by name, with "-" or "_". Raises InputError naming the stages there are."""
    wanted = name.replace("-", "_")
    for stage in STAGES:
        if wanted == stage:
            return stage
    raise InputError(f"unknown stage {name!r}; choose one of {', '.join(STAGES)}")


def next_step(store: Store, stage: Stage) -> Step:
    """Look at the store and say what the stage does next; changes nothing."""
    config = store.files.settings()
    if stage not in config.stages_in_use:
        raise InputError(
            f"{store.files.config}: does not use the stage {stage}; name it there, with its options, in stages"
        )
    rounds = store.rounds()
    own = [record for record in rounds if record.stage == stage]
    current = own[-1] if own else None
    if current and current.state == "open":
        action: Action = "annotate" if stage in ANNOTATED_STAGES else "generate"
        people = stage in ANNOTATED_STAGES and config.annotator.by_people
        who = f", by people in {config.annotator.kind.replace('_', ' ').title()}" if people else ""
        return Step(stage, action, current.round, f"{action} {counted(len(current.image_ids), 'image')}{who}")
    if current and current.state == "annotated" and (gates := gates_of(config, stage)):
        return Step(stage, "verify", current.round, f"people answer at the gates: {', '.join(gates)}")
    if current and current.state in ("annotated", "verified"):
        return Step(stage, "retrain", current.round, "retrain on the masks so far")
    before = None if own else _missing_before(store, config, stage, rounds)
    if before:
        return Step(stage, "wait", 0, before)
    number = len(own) + 1
    image_ids = images_of_next_round(store, config, stage, rounds)
    if image_ids:
        wanted = of_stage(config, stage, model_for(config, stage, rounds))
        if unanswered := missing(store.files, wanted):
            return Step(stage, "wait", number, unanswered, approval=wanted)
        return Step(stage, "open", number, f"open round {number} with {counted(len(image_ids), 'image')}", image_ids)
    if not own and stage == STAGES[0]:
        return Step(stage, "wait", 0, _no_image_to_start_with(store))
    use = use_of_last(store, own[-1]) if own else ""
    return Step(stage, "none", len(own), _why_done(config, stage, len(own)) + _still_lost(store, own) + use)


def gates_of(config: EngineConfig, stage: Stage) -> tuple[Gate, ...]:
    """The gates that a round of this stage passes before it is learned from; none where no people work."""
    return config.gates.wanted if stage in ANNOTATED_STAGES and config.annotator.by_people else ()


def is_finished(store: Store, config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> bool:
    """Whether a stage is through: its rounds are retrained, and no further one is due or has images."""
    own = [record for record in rounds if record.stage == stage]
    if any(record.state != "retrained" for record in own):
        return False
    if stage == STAGES[0] and not own:
        return False
    return not images_of_next_round(store, config, stage, rounds)


def model_for(config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> str:
    """The model a round of this stage starts from: that of the last retraining before it, else the start model.

    A stage without annotators always works with the model of the annotated stages, so that all its masks are alike.
    """
    upto = [name for name in STAGES[: STAGES.index(stage) + 1] if name in ANNOTATED_STAGES]
    trained = [record.model_after for record in rounds if record.stage in upto and record.model_after]
    return trained[-1] if trained else config.model.start


def model_of_annotators(config: EngineConfig, rounds: Sequence[Round]) -> str:
    """The model that answers people's clicks: that of the open round, where none is open that of the next."""
    opened = [record.model_before for record in rounds if record.stage in ANNOTATED_STAGES and record.state == "open"]
    return opened[-1] if opened else model_for(config, ANNOTATED_STAGES[-1], rounds)


def _missing_before(store: Store, config: EngineConfig, stage: Stage, rounds: Sequence[Round]) -> str | None:
    """What must happen before the first round of a stage; None where nothing is missing."""
    for earlier in config.stages_in_use[: config.stages_in_use.index(stage)]:
        if not is_finished(store, config, earlier, rounds):
            done = sum(record.stage == earlier and record.state == "retrained" for record in rounds)
            return (
                f"{stage} needs the model that is retrained at the end of {earlier}, which has finished {done} of "
                f"{counted(rounds_of(config, earlier), 'round')}; run: sam-engine run "
                f"{earlier} {store.files} --until-done"
            )
    model = model_for(config, stage, rounds)
    if stage != STAGES[0] and model not in {info.model_id for info in list_models(store.files.model_roots())}:
        return (
            f"{stage} needs model {model}, which the last retraining made, but it is not in {store.files.models}; "
            "put its folder back"
        )
    return None


def use_of_last(store: Store, record: Round) -> str:
    """What the model of the last stage's retraining is for, since `model_for` gives it to no round; "" elsewhere."""
    if record.stage in ANNOTATED_STAGES or not record.metrics.accepted:
        return ""
    models = models_here(store.files.models)
    folder = next((known.folder for known in list_models([models]) if known.model_id == record.model_after), models)
    return (
        f"; that model made none of the masks here: it is for sam-engine generate -m {folder}, and for model.start of "
        "another workspace"
    )


def _no_image_to_start_with(store: Store) -> str:
    count = store.counts()["images"]
    command = f"sam-engine ingest {store.files} SOURCE..."
    if count == 0:
        return f"{store.files} has no images; run: {command}"
    return (
        f"none of the {count} images of {store.files} has ground truth outside the holdout, which the simulated "
        f"annotator clicks from; add a COCO json with masks: {command}"
    )


def _still_lost(store: Store, own: Sequence[Round]) -> str:
    lost = lost_images(store, own)
    return f"; {len(lost)} were left out, since their pictures cannot be read: put the originals back" if lost else ""


def _why_done(config: EngineConfig, stage: Stage, rounds: int) -> str:
    if stage not in ANNOTATED_STAGES:
        return "all images have automatic masks, and the model is retrained on them"
    if rounds >= rounds_of(config, stage):
        return "its round is done" if rounds == 1 else f"all {rounds} rounds are done"
    return (
        f"ended early after {rounds} of {counted(rounds_of(config, stage), 'round')}: no image with ground "
        "truth is left that is neither annotated nor held out"
    )
