"""The gates of quality and the audit of a round, as one step each: move it, and keep what it found in the reports."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from engine.quality.audit import audit_lines
from engine.quality.gate_summary import gate_lines
from engine.quality.verifier_summary import verifier_lines
from engine.store import Store
from schemas.counted import counted
from schemas.errors import WaitError
from schemas.labeling import Gate
from schemas.stages import ANNOTATED_STAGES, Stage
from schemas.tables import Round
from stages.audits import AuditRound
from stages.gates import ExhaustivityRound
from stages.movers import another_moves, only_mover
from stages.progress import Progress, silent
from stages.verification import VerificationRound


@dataclass(frozen=True)
class GateResult:
    """found: what was measured, plain values; None before the first answer."""

    gate: Gate
    stage: Stage
    round: int
    finished: bool
    message: str
    found: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def move_gate(
    store: Store, gate: Gate, *, stage: Stage | None = None, round: int | None = None, progress: Progress = silent
) -> GateResult:
    """Move a gate of a round: stage and round default to the last that is annotated.

    While another process moves the stage, nothing is done.
    Raises WaitError where no round is annotated yet, or Label Studio has no project for it.
    """
    record = _annotated_round(store, stage, round)
    with only_mover(store, record.stage) as alone:
        if not alone:
            return GateResult(gate, record.stage, record.round, False, another_moves(store, record.stage), None)
        return _move_alone(store, gate, _annotated_round(store, record.stage, record.round), progress)


def _move_alone(store: Store, gate: Gate, record: Round, progress: Progress) -> GateResult:
    config = store.files.settings()
    where = f"{gate} of {record.stage} round {record.round}"
    if gate == "audit":
        audit = AuditRound(store, config, record, progress).audit()
        lines = audit_lines(audit.report) if audit.report else []
        found = audit.report.to_dict() if audit.report else None
        message = (
            f"{where}: {audit.answered} of {counted(audit.asked, 'image')} "
            f"{'is' if audit.asked == 1 else 'are'} corrected; experts work at {audit.url}"
        )
        if audit.problems:
            message += f"; {len(audit.problems)} to be looked at, the first: {audit.problems[0]}"
        finished = audit.finished
    else:
        kind = VerificationRound if gate == "verification" else ExhaustivityRound
        state = kind(store, config, record, progress).move()
        verifier = state.verifier
        lines = (gate_lines([state.summary]) if state.summary else []) + verifier_lines(verifier)
        found = state.summary.to_dict() | {"verifier": verifier and verifier.to_dict()} if state.summary else None
        message = f"{where}: {state.answered} of {state.asked} are answered; people answer at {state.url}"
        if state.finished:
            drawn = state.consequences
            back = len(drawn.to_annotators)
            message = (
                f"{where}: all {state.asked} are answered; {counted(len(drawn.taken_away), 'mask')} taken away, "
                f"{counted(back, 'image')} {'goes' if back == 1 else 'go'} back to annotators in the next round"
            )
        if verifier is not None:
            message += f"; {verifier.sentence()}"
        finished = state.finished
    if found is not None:
        _keep(store, record, gate, found, lines)
    return GateResult(gate, record.stage, record.round, finished, message, found)


def _annotated_round(store: Store, stage: Stage | None, number: int | None) -> Round:
    done = [
        record
        for record in store.rounds()
        if record.state != "open" and record.stage in ((stage,) if stage else ANNOTATED_STAGES)
    ]
    found = [record for record in done if number in (None, record.round)]
    if not found:
        raise WaitError(f"{store.files}: no such round is annotated yet; see sam-engine status {store.files}")
    return found[-1]


def _keep(store: Store, record: Round, gate: Gate, found: dict[str, Any], lines: Sequence[str]) -> None:
    """In the metrics of the round, and as text in reports/quality-*.md."""
    current = next(one for one in store.rounds(record.stage) if one.round == record.round)
    metrics = current.metrics.updated({"quality": current.metrics.quality | {gate: found}})
    store.put_round(replace(current, metrics=metrics))
    file = store.files.reports / f"quality-{gate}-{record.stage}-{record.round}.md"
    file.write(("\n".join(lines) + "\n").encode())
