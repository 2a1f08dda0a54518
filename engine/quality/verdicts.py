"""What people answered at the two gates of quality, and what follows from it.

Mask verification asks of one mask whether it is good, exhaustivity asks of one picture whether a mask is missing (SAM 3
paper, section 4). Answers are read from tasks as Label Studio gives them back: reading them again, in another order or
twice over, gives the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, cast

from engine.labeling.replies import annotator_of, seconds_of, text_of, values_of
from schemas.labeling import COMMENT, COMPLETENESS, VERDICT, VERDICTS, Completeness, Gate, Verdict
from schemas.stages import STAGES, Stage

Task = Mapping[str, Any]

ACCEPTED: dict[Gate, str] = {"verification": "good", "exhaustivity": "complete"}
ANSWERS: dict[Gate, tuple[str, ...]] = {"verification": VERDICTS, "exhaustivity": COMPLETENESS}
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Subject:
    """What a task asks about: an image of a round, or one of its masks; mask_id is 0 where it is the image."""

    stage: Stage
    round: int
    image_id: int
    mask_id: int = 0


@dataclass(frozen=True)
class MaskVerdict:
    """What somebody said about a mask. seconds: how long the task was open, None where that is not known."""

    mask_id: int
    image_id: int
    stage: Stage
    round: int
    verdict: Verdict
    annotator: str
    seconds: float | None
    comment: str

    @property
    def subject(self) -> int:
        return self.mask_id

    @property
    def answer(self) -> str:
        return self.verdict


@dataclass(frozen=True)
class ImageVerdict:
    """What somebody said about the masks of an image. seconds: as in MaskVerdict."""

    image_id: int
    stage: Stage
    round: int
    completeness: Completeness
    annotator: str
    seconds: float | None
    comment: str

    @property
    def subject(self) -> int:
        return self.image_id

    @property
    def answer(self) -> str:
        return self.completeness


AnyVerdict = TypeVar("AnyVerdict", MaskVerdict, ImageVerdict)


@dataclass(frozen=True)
class Answers(Generic[AnyVerdict]):
    """Everything that the tasks of a gate say; each part is sorted.

    verdicts: one for each subject that has one, the last if there are several. skipped: subjects whose last annotation
    is a skip. unanswered: those with nothing that can be read. unreadable: a subject for each annotation that was made
    with another labelling configuration; it is as if it were not there. strangers: tasks that are not of this gate.
    """

    gate: Gate
    verdicts: tuple[AnyVerdict, ...]
    skipped: tuple[Subject, ...]
    unanswered: tuple[Subject, ...]
    unreadable: tuple[Subject, ...]
    strangers: int


@dataclass(frozen=True)
class Consequences:
    """What has to happen after the gates; ids sorted.

    taken_away: masks that show no object. to_correct: masks of an object that are not right. incomplete: images with an
    object that has no mask. to_annotators: images that go back to people, for a mask to correct or one to add.
    """

    taken_away: tuple[int, ...]
    to_correct: tuple[int, ...]
    incomplete: tuple[int, ...]
    to_annotators: tuple[int, ...]


def task_data(gate: Gate, subject: Subject, image_url: str) -> dict[str, Any]:
    """What every task of a gate carries: the picture to show, and what it asks about."""
    # Ids are 63-bit numbers: a browser would round them.
    mask = {"mask_id": str(subject.mask_id)} if subject.mask_id else {}
    place = {"image_id": str(subject.image_id), "stage": subject.stage, "round": subject.round}
    return {"image": image_url, "gate": gate, **mask, **place}


def verification_task(row: Mapping[str, Any], image_url: str) -> dict[str, Any]:
    """The task that asks about a mask. row: of a masks table. image_url: of its picture from `verification_view`."""
    subject = Subject(row["stage"], int(row["round"]), int(row["image_id"]), int(row["mask_id"]))
    return {"data": task_data("verification", subject, image_url)}


def exhaustivity_task(image_id: int, image_url: str, *, stage: Stage, round: int, masks: int) -> dict[str, Any]:
    """The task that asks about an image. image_url: of its picture from `exhaustivity_view`, which shows `masks`."""
    return {"data": task_data("exhaustivity", Subject(stage, round, image_id), image_url) | {"masks": masks}}


def mask_verdicts(tasks: Iterable[Task]) -> Answers[MaskVerdict]:
    """Read the tasks of a verification project: Label Studio's JSON, each with "data" and "annotations".

    Never fails on what people did in the project; what cannot be read is counted.
    """

    def verdict(subject: Subject, given: _Reply) -> MaskVerdict:
        place = (subject.mask_id, subject.image_id, subject.stage, subject.round)
        return MaskVerdict(*place, cast(Verdict, given.answer), given.annotator, given.seconds, given.comment)

    return _answers(tasks, "verification", verdict)


def image_verdicts(tasks: Iterable[Task]) -> Answers[ImageVerdict]:
    """Read the tasks of an exhaustivity project; as mask_verdicts."""

    def verdict(subject: Subject, given: _Reply) -> ImageVerdict:
        place = (subject.image_id, subject.stage, subject.round)
        return ImageVerdict(*place, cast(Completeness, given.answer), given.annotator, given.seconds, given.comment)

    return _answers(tasks, "exhaustivity", verdict)


def consequences(masks: Iterable[MaskVerdict], images: Iterable[ImageVerdict] = ()) -> Consequences:
    """What follows from verdicts: rejected masks go, bad ones and images with missing masks go back to annotators."""
    judged = list(masks)
    incomplete = {one.image_id for one in images if one.completeness == "missing"}
    bad = [one for one in judged if one.verdict == "bad"]
    return Consequences(
        taken_away=tuple(sorted({one.mask_id for one in judged if one.verdict == "reject"})),
        to_correct=tuple(sorted({one.mask_id for one in bad})),
        incomplete=tuple(sorted(incomplete)),
        to_annotators=tuple(sorted(incomplete | {one.image_id for one in bad})),
    )


@dataclass(frozen=True)
class _Reply:
    answer: str
    annotator: str
    seconds: float | None
    comment: str


def subject_of(task: Task, gate: Gate) -> Subject | None:
    """What a task asks about; None if it is not one of this gate's."""
    data = task.get("data") or {}
    try:
        mask_id = int(data["mask_id"]) if gate == "verification" else 0
        subject = Subject(data["stage"], int(data["round"]), int(data["image_id"]), mask_id)
    except (KeyError, TypeError, ValueError):
        return None
    return subject if data.get("gate") == gate and subject.stage in STAGES else None


def _answers(
    tasks: Iterable[Task], gate: Gate, verdict: Callable[[Subject, _Reply], AnyVerdict]
) -> Answers[AnyVerdict]:
    annotations, strangers = _by_subject(tasks, gate)
    verdicts: list[AnyVerdict] = []
    skipped: list[Subject] = []
    unanswered: list[Subject] = []
    unreadable: list[Subject] = []
    for subject, of_subject in sorted(annotations.items()):
        given = [_given(one, gate) for one in sorted(of_subject.values(), key=_order)]
        readable = [one for one in given if one is not None]
        unreadable += [subject] * (len(given) - len(readable))
        last = readable[-1] if readable else None
        if isinstance(last, _Reply):
            verdicts.append(verdict(subject, last))
        else:
            (skipped if last == _SKIPPED else unanswered).append(subject)
    return Answers(gate, tuple(verdicts), tuple(skipped), tuple(unanswered), tuple(unreadable), strangers)


def _by_subject(tasks: Iterable[Task], gate: Gate) -> tuple[dict[Subject, dict[Any, Task]], int]:
    """Annotations of each subject by their id, as last updated, and how many tasks are not of this gate."""
    found: dict[Subject, dict[Any, Task]] = {}
    strangers = set()
    for task in tasks:
        subject = subject_of(task, gate)
        if subject is None:
            strangers.add(task.get("id"))
            continue
        known = found.setdefault(subject, {})
        for annotation in task.get("annotations") or ():
            before = known.get(annotation.get("id"))
            if before is None or _order(before) <= _order(annotation):
                known[annotation.get("id")] = annotation
    return found, len(strangers)


_SKIPPED = "skipped"


def _given(annotation: Task, gate: Gate) -> _Reply | str | None:
    """What an annotation says; _SKIPPED for a skip, None if it was made with another configuration."""
    if annotation.get("was_cancelled"):
        return _SKIPPED
    chosen = values_of(annotation, VERDICT, "choices")
    if len(chosen) != 1 or chosen[0] not in ANSWERS[gate]:
        return None
    return _Reply(chosen[0], annotator_of(annotation), seconds_of(annotation), text_of(annotation, COMMENT))


def _order(annotation: Task) -> tuple[datetime, int]:
    """Annotations come in the order in which they were last changed; of equal times the newer annotation is last."""
    try:
        when = datetime.fromisoformat(annotation.get("updated_at") or annotation.get("created_at") or "")
    except (TypeError, ValueError):
        when = _NEVER
    return when if when.tzinfo else when.replace(tzinfo=UTC), int(annotation.get("id") or 0)
