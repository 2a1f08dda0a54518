"""The steps of a round: what each writes of it, and what it tells people."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.annotation import AnnotationProgress
from engine.store import Store
from model.registry import find_model, model_roots
from schemas.errors import InputError
from schemas.round_metrics import Guard, PrefillThreshold, RoundMetrics
from schemas.stages import BUILTIN_STAGES, STAGES, Stage, StageInfo
from schemas.tables import Round
from stages import steps
from stages.annotation import AnnotationWorker
from stages.assisted_manual import AssistedManualWorker
from stages.fully_automatic import FullyAutomaticWorker
from stages.planning import Step, next_step
from stages.progress import silent
from stages.quality import GateResult
from stages.retraining import Retrained
from stages.rounds import tick
from stages.semi_automatic import SemiAutomaticWorker
from stages.shards import ShardOutcome, serial
from stages.workers import Opening
from tests.stages.workspaces import make_workspace

MANUAL: Stage = "assisted_manual"
AUTOMATIC: Stage = "fully_automatic"
SCORES = {"miou_before": 0.25, "miou_after": 0.5, "miou_change": (0.125, 0.375)}


def told(what: str, done: int, total: int, note: str = "") -> None:
    """A Progress that is not the default."""


class BoxesWorker(FullyAutomaticWorker):
    """Of a stage that a package brings."""

    stage = "boxes"


def test_the_worker_of_a_stage_is_built_in_or_comes_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    brought = {"boxes": "BoxesWorker", "crates": "BoxesWorker", "told": "told", "none": "Nothing"}
    infos = {stage: StageInfo(f"{__name__}:{name}") for stage, name in brought.items()}
    monkeypatch.setattr(steps, "INSTALLED_STAGES", infos | {"gone": StageInfo("no.such:Worker")})
    assert [steps.worker_of(stage) for stage in BUILTIN_STAGES] == [
        AssistedManualWorker,
        SemiAutomaticWorker,
        FullyAutomaticWorker,
    ]
    assert steps.worker_of("boxes") is BoxesWorker
    for stage, said in (
        ("crates", f"^stage crates: {__name__}:BoxesWorker is no ShardWorker whose stage is 'crates'; see"),
        ("told", f"^stage told: {__name__}:told is no ShardWorker"),
        ("none", f"^stage none: {__name__}:Nothing does not load: AttributeError: "),
        ("gone", "^stage gone: no.such:Worker does not load: ModuleNotFoundError: No module named 'no'$"),
    ):
        with pytest.raises(InputError, match=said):
            steps.worker_of(stage)


def test_a_round_opens_with_its_images_and_the_model_of_the_settings(
    workspace: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def calibrated(store: Store, config: object, start: Any, progress: object) -> Any:
        asked.append((store, config, start.name, progress))
        return start

    monkeypatch.setattr(steps, "calibrated_start", calibrated)
    step = next_step(workspace, MANUAL)
    message = steps.open_round(workspace, step, told)
    start = find_model("tiny", model_roots(workspace.workspace)).model_id
    assert asked == [(workspace, workspace.files.settings(), "tiny", told)]
    assert workspace.rounds() == [Round(MANUAL, 1, step.image_ids, "open", model_before=start)]
    assert message == f"round 1 is open: {len(step.image_ids)} images, model tiny"
    steps.open_round(workspace, Step(MANUAL, "open", 2, "", (1,)), told)
    assert len(asked) == 1, "the model is looked at before the very first round"
    assert workspace.rounds()[1] == Round(MANUAL, 2, (1,), "open", model_before=start)


def test_what_is_settled_at_the_opening_is_kept_with_the_round(
    workspace: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = PrefillThreshold(
        threshold=0.5, stated_precision=0.8, precision=0.9, recall=0.5, masks=2, right=1, objects=2, images=1, iou=0.5,
        measured_on="holdout",
    )  # fmt: skip
    opening = Opening(RoundMetrics(generator_threshold=chosen), "threshold 0.5")
    monkeypatch.setattr(steps.worker_of(AUTOMATIC), "opening", lambda *_: opening)
    message = steps.open_round(workspace, Step(AUTOMATIC, "open", 1, "", (1, 2)), silent)
    assert message.startswith("round 1 is open: 2 images, model tiny")
    assert message.endswith("; threshold 0.5")
    (record,) = workspace.rounds()
    assert record.metrics.generator_threshold == chosen


def test_annotators_are_waited_for_and_the_generator_is_not(workspace: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    half = AnnotationProgress(finished=False, message="half")
    moved: list[tuple[object, ...]] = []

    def move(self: AnnotationWorker) -> AnnotationProgress:
        moved.append((self.stage, self.round, self.progress))
        return half

    monkeypatch.setattr(AnnotationWorker, "move", move)
    assert [steps.wait_for_annotators(workspace, Step(stage, "annotate", 3, ""), told) for stage in STAGES] == [
        half,
        half,
        AnnotationProgress(finished=True),
    ]
    assert moved == [(stage, 3, told) for stage in STAGES[:2]]


def test_annotating_counts_the_masks_of_the_round(workspace: Store) -> None:
    steps.open_round(workspace, next_step(workspace, MANUAL), silent)
    (record,) = workspace.rounds()
    step = next_step(workspace, MANUAL)
    done: list[str] = []

    def map_shards(worker: Any, shards: Sequence[str]) -> list[ShardOutcome]:
        done.extend(shards)
        assert (worker.round, worker.progress) == (1, told)
        return serial(worker, shards)

    shards = {workspace.shard_of(image_id) for image_id in record.image_ids}
    message = steps.annotate(workspace, step, map_shards, told)
    assert done == sorted(shards)
    (annotated,) = workspace.rounds()
    masks = workspace.counts()[MANUAL]
    assert (annotated.state, annotated.metrics.masks, annotated.metrics.images) == ("annotated", masks, 2)
    assert annotated.metrics.annotators == ("simulated",)
    assert message == f"{masks} masks on 2 images (simulated annotator)"
    again = steps.annotate(workspace, step, serial, told)
    there = {1: "1 of 1 shard was", 2: "2 of 2 shards were"}[len(done)]
    assert again == f"{masks} masks on 2 images, {there} there already (simulated annotator)"
    assert workspace.rounds() == [annotated]


def test_images_that_were_left_out_are_known_after_a_run_that_began_anew(workspace: Store) -> None:
    tick(workspace, MANUAL)
    (record,) = workspace.rounds()
    killer = record.image_ids[0]

    class KilledError(BaseException):
        pass

    def map_shards(worker: Any, shards: Sequence[str]) -> list[ShardOutcome]:
        shard = workspace.shard_of(killer)
        assert worker.leave_out(shard, [killer]).key == worker.key(shard)
        raise KilledError  # after the commit, before the round is closed

    step = next_step(workspace, MANUAL)
    with pytest.raises(KilledError):
        steps.annotate(workspace, step, map_shards, silent)
    message = steps.annotate(workspace, step, serial, silent)
    (annotated,) = workspace.rounds()
    assert annotated.metrics.images_left_out == (killer,)
    assert f"left out, since they take their process down: images [{killer}]" in message
    assert killer not in workspace.read_table(MANUAL)["image_id"].to_pylist()


def test_only_rows_of_the_round_and_stage_are_counted(workspace: Store) -> None:
    tick(workspace, MANUAL)
    tick(workspace, MANUAL)
    (first,) = workspace.rounds()
    workspace.put_round(replace(first, stage=AUTOMATIC, state="open", metrics=RoundMetrics()))
    message = steps.annotate(workspace, Step(AUTOMATIC, "generate", 1, ""), serial, silent)
    automatic = workspace.rounds(AUTOMATIC)[0].metrics
    assert automatic.masks == workspace.counts()[AUTOMATIC]
    assert automatic.annotator_s == 0, "the time of the annotated stage is not the generator's"
    assert automatic.generation is not None
    assert automatic.generation.images == 2
    assert f"{automatic.masks} masks on 2 images, generated at " in message
    assert message.endswith(" img/s"), message
    workspace.put_round(replace(first, round=2, image_ids=first.image_ids[:1], state="open", metrics=RoundMetrics()))
    steps.annotate(workspace, Step(MANUAL, "annotate", 2, ""), serial, silent)
    second = workspace.rounds(MANUAL)[1].metrics
    assert (first.metrics.masks, second.masks) == (6, 3)


def test_what_a_worker_has_to_tell_is_kept_with_the_round(workspace: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tick(workspace, MANUAL)
    monkeypatch.setattr(steps.worker_of(MANUAL), "metrics", lambda self: {"share": 0.75})
    steps.annotate(workspace, next_step(workspace, MANUAL), serial, silent)
    assert workspace.rounds()[0].metrics.share == 0.75


@pytest.mark.parametrize(
    ("finished", "passed", "said", "state"),
    [
        ([True, True], True, "verification 1; exhaustivity 1", "verified"),
        ([False, True], False, "verification 1", "annotated"),
        ([True, False], False, "verification 1; exhaustivity 1", "annotated"),
    ],
)
def test_gates_are_passed_one_after_the_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finished: list[bool],
    passed: bool,
    said: str,
    state: str,
) -> None:
    store = make_workspace(
        tmp_path,
        images=1,
        annotator={"kind": "label_studio"},
        gates={"exhaustivity": "all", "verification": "all"},
    )
    store.put_round(Round(MANUAL, 1, (5,), "annotated", "m", metrics=RoundMetrics(masks=3)))
    left = iter(finished)

    def move(store: Store, gate: Any, *, stage: Stage, round: int, progress: object) -> GateResult:
        assert progress is told
        return GateResult(gate, stage, round, next(left), f"{gate} {round}", None)

    monkeypatch.setattr(steps, "move_gate", move)
    assert steps.pass_gates(store, Step(MANUAL, "verify", 1, ""), told) == (passed, said)
    assert store.rounds() == [Round(MANUAL, 1, (5,), state, "m", metrics=RoundMetrics(masks=3))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({}, "no image is held out, so it was not measured"),
        ({"miou_before": 0.5, "miou_after": 0.5}, "no image is held out, so it was not measured"),
        (
            SCORES | {"measured_on": "holdout", "measured_images": 7},
            "mIoU at 1 click on 7 held-out images 0.250 -> 0.500 (+0.125 to +0.375)",
        ),
        (
            SCORES | {"measured_on": "set_aside", "measured_images": 2, "guard": {"accepted": True, "reason": ""}},
            "mIoU at 1 click on 2 images that were set aside 0.250 -> 0.500 (+0.125 to +0.375)",
        ),
        (
            SCORES | {"measured_on": "holdout", "measured_images": 7, "guard": Guard(accepted=False, reason="worse")},
            "mIoU at 1 click on 7 held-out images 0.250 -> 0.500 (+0.125 to +0.375)"
            "; the next round does not use it: worse",
        ),
    ],
)
def test_a_retraining_says_what_it_brought(
    workspace: Store, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, Any], said: str
) -> None:
    workspace.put_round(Round(MANUAL, 1, (5,), "annotated", "m", metrics=RoundMetrics(masks=3)))
    found = Retrained("trained", "used", RoundMetrics.from_dict(metrics))
    asked: list[object] = []

    def retrain(*arguments: object) -> Retrained:
        asked.extend(arguments)
        return found

    monkeypatch.setattr(steps, "retrain", retrain)
    record = workspace.rounds()[0]
    assert steps.retrain_round(workspace, Step(MANUAL, "retrain", 1, ""), told) == f"model trained; {said}"
    assert asked == [workspace, workspace.files.settings(), record, told]
    (retrained,) = workspace.rounds()
    assert (retrained.state, retrained.model_before, retrained.model_after) == ("retrained", "m", "used")
    assert retrained.metrics.masks == 3, "what was counted before stays"
    assert retrained.metrics.score("miou") == found.metrics.score("miou")
    assert (workspace.workspace / "reports" / "rounds.md").is_file()


def test_the_last_retraining_says_what_the_model_is_for(workspace: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.put_round(Round(AUTOMATIC, 1, (5,), "annotated", "m"))
    monkeypatch.setattr(steps, "retrain", lambda *_: Retrained("trained", "m", RoundMetrics()))
    message = steps.retrain_round(workspace, Step(AUTOMATIC, "retrain", 1, ""), silent)
    assert "it is for sam-engine generate -m" in message
    refused = RoundMetrics(guard=Guard(accepted=False, reason="worse"))
    monkeypatch.setattr(steps, "retrain", lambda *_: Retrained("trained", "m", refused))
    assert steps.retrain_round(workspace, Step(AUTOMATIC, "retrain", 1, ""), silent) == (
        "model trained; no image is held out, so it was not measured; the next round does not use it: worse"
    )
