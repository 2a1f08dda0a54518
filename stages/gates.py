"""The gates of quality that masks pass: verification of a sample of masks, exhaustivity of a sample of images.

A tick settles what is asked, publishes what is missing of it to the gate's project in Label Studio, reads the verdicts
so far and, once all are there, draws the consequences: rejected masks go, images with bad or missing masks go back to
annotators with the good ones.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, cast

import pyarrow as pa
from PIL import Image

from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.links import PictureLinks
from engine.labeling.publish import renew_link, without_doubles
from engine.labeling.tool import LabelStudioTool
from engine.places import Place, place
from engine.quality.gate_records import SKIPPED, Answer, GateRecords, Question
from engine.quality.gate_summary import GateSummary, summaries
from engine.quality.returned import take_out
from engine.quality.sampling import sample_images, sample_size
from engine.quality.verdicts import (
    Answers,
    AnyVerdict,
    Consequences,
    ImageVerdict,
    MaskVerdict,
    Subject,
    consequences,
    exhaustivity_task,
    image_verdicts,
    subject_of,
)
from engine.quality.verifier_summary import VerifierSummary
from engine.quality.views import exhaustivity_view, jpeg_bytes
from engine.store import Store
from schemas.config import EngineConfig
from schemas.errors import InputError
from schemas.labeling import Completeness, Gate
from schemas.tables import Round
from stages.progress import Progress
from stages.records import masks_by_image
from stages.unreadable import check_unreadable

SubjectId = int  # of a mask (verification) or of an image (exhaustivity)
VerdictOf = Callable[[Question, Answer], AnyVerdict]


@dataclass(frozen=True)
class GateState:
    """finished: everything that was asked is answered, and the consequences are drawn. url: where people answer.
    asked, answered: of people. verifier: what it answered, None where the workspace wants none, and for images."""

    finished: bool
    url: str
    asked: int
    answered: int
    summary: GateSummary | None
    consequences: Consequences
    verifier: VerifierSummary | None = None


class GateRound:
    """One gate for the masks of one round that is annotated."""

    gate: ClassVar[Gate]

    def __init__(self, store: Store, config: EngineConfig, record: Round, progress: Progress) -> None:
        self.store, self.config, self.record, self.progress = store, config, record, progress
        self.label_studio = LabelStudioTool(store, config)
        self.folder = LabelingFolder(store.files)
        self.scope = Scope(self.gate, record.stage, record.round)

    @property
    def client(self) -> LabelStudioClient:
        return self.label_studio.client

    @property
    def project(self) -> int:
        """Raises WaitError where there is none yet."""
        return self.label_studio.project(self.gate)

    @cached_property
    def masks(self) -> pa.Table:
        """The masks of the round, as they were when the gate first looked at them or as they are now."""
        return self.store.read_rows(self.record.stage, round=self.record.round)

    @property
    def url(self) -> str:
        """Where people answer."""
        return self.label_studio.url(self.gate)


class QuestionRound(GateRound, ABC):
    """A gate that asks one question about each subject of a sample."""

    @cached_property
    def records(self) -> GateRecords:
        return GateRecords(self.store, self.scope)

    @property
    def sample_frac(self) -> float:
        """Share of what the gate may ask about that it does ask about."""
        return 1.0 if getattr(self.config.gates, self.gate) == "all" else self.config.labeling.verify_frac

    @abstractmethod
    def draw(self, published: Set[SubjectId]) -> None:
        """Settle and keep what is asked.

        published: questions that went out before that was kept, in a workspace of an older version.
        """

    @abstractmethod
    def view(self, subject: SubjectId) -> Image.Image:
        """The picture on which people judge a subject."""

    @abstractmethod
    def task(self, subject: SubjectId, url: str) -> dict[str, Any]:
        """The task that asks about a subject. url: of its picture, for the browser."""

    @abstractmethod
    def state(self, tasks: Sequence[dict[str, Any]]) -> GateState:
        """What the tasks say, once all are published, and the consequences where all are answered."""

    def move(self) -> GateState:
        """Publish what is missing, read what is answered, draw consequences once all is.

        Questions about pictures that cannot be read any more count as skipped. Raises WaitError where Label Studio does
        not answer or has no such project, InputError where more than half of the pictures cannot be read.
        """
        tasks = self._tasks()
        published = {self._subject(task) for task in tasks}
        if not self.records.is_drawn():
            self.draw(cast(set[SubjectId], published))
        missing = [question.subject for question in self._open_questions() if question.subject not in published]
        chunk = self.config.labeling.images_per_chunk
        for at in range(0, len(missing), chunk):
            some = [subject for subject in missing[at : at + chunk] if self._write_picture(subject)]
            if some:
                shown = [self.task(subject, self._picture_url(subject)) for subject in some]
                self.client.import_tasks(self.project, shown)
            unread = f"{len(self._unreadable)} without a picture that can be read" if self._unreadable else ""
            self.progress(f"{self.gate}: publish", min(at + chunk, len(missing)), len(missing), unread)
        self._restore_pictures()
        self._skip_unreadable()
        return self.state(self._tasks() if missing else tasks)

    def concluded(self, answers: Answers[AnyVerdict], *, verifier: VerifierSummary | None = None) -> GateState:
        """The state that answers amount to; draws the consequences where none is missing."""
        masks = [one for one in answers.verdicts if isinstance(one, MaskVerdict)]
        found = consequences(masks, [one for one in answers.verdicts if isinstance(one, ImageVerdict)])
        finished = len(answers.unanswered) == 0
        if finished:
            back, gone = set(found.to_annotators), set(found.taken_away)
            take_out(self.store, self.gate, self.record, images=back, mask_ids=gone)
            self.records.finish()
        summary = next(iter(summaries(answers)), None)
        answered = len(answers.verdicts) + len(answers.skipped)
        asked = answered + len(answers.unanswered)
        return GateState(finished, self.url, asked, answered, summary, found, verifier)

    def kept_answers(self, read: Answers[AnyVerdict], verdict: VerdictOf[AnyVerdict]) -> Answers[AnyVerdict]:
        """What was ever answered: what tasks say now is kept, and what they said earlier still counts.

        read: of the tasks. verdict: makes the one that a question and its answer amount to.
        """
        given = {one.subject: Answer(one.answer, one.annotator, one.seconds, one.comment) for one in read.verdicts} | {
            one.mask_id or one.image_id: Answer(SKIPPED, "", None, "") for one in read.skipped
        }
        self.records.put_answers(given)
        asked = [question for question in self.records.questions() if question.for_people]
        place = (self.record.stage, self.record.round)
        return replace(
            read,
            verdicts=tuple(
                verdict(question, question.answer)
                for question in sorted(asked, key=lambda question: question.subject)
                if question.answer and question.answer.answer != SKIPPED
            ),
            skipped=tuple(
                Subject(*place, question.image_id, question.mask_id)
                for question in asked
                if question.answer and question.answer.answer == SKIPPED
            ),
            unanswered=tuple(
                Subject(*place, question.image_id, question.mask_id) for question in asked if not question.answer
            ),
        )

    def _restore_pictures(self) -> None:
        """Write pictures that somebody deleted; people see them as long as a question is open."""
        if self._open_questions():
            asked = [question.subject for question in self.records.questions() if question.for_people]
            gone = [subject for subject in asked if not self._picture(subject).exists()]
            for number, subject in enumerate(gone, start=1):
                self._write_picture(subject)
                self.progress(f"{self.gate}: pictures", number, len(gone))

    def _write_picture(self, subject: SubjectId) -> bool:
        """Whether there is one to show."""
        try:
            view = self.view(subject)
        except InputError as error:
            self._unreadable[subject] = str(error)
            check_unreadable(f"the gate {self.gate}", self._unreadable.values(), of=len(self.records.questions()))
            return False
        self._picture(subject).write(jpeg_bytes(view))
        return True

    def _skip_unreadable(self) -> None:
        self.records.put_answers({each: Answer(SKIPPED, "", None, why) for each, why in self._unreadable.items()})
        self._unreadable.clear()

    @cached_property
    def _unreadable(self) -> dict[SubjectId, str]:
        """Subjects whose picture cannot be read, with the reason, before they are skipped."""
        return {}

    def _picture(self, subject: SubjectId) -> Place:
        return place(self.folder.images) / self._picture_path(subject)

    def _picture_url(self, subject: SubjectId) -> str:
        return self._links.url(self._picture_path(subject))

    @property
    def _links(self) -> PictureLinks:
        return self.label_studio.links

    def _picture_path(self, subject: SubjectId) -> str:
        return f"{self.scope.path}/{subject}.jpg"

    def _open_questions(self) -> list[Question]:
        return [question for question in self.records.questions() if question.for_people and question.answer is None]

    def _tasks(self) -> list[dict[str, Any]]:
        """The tasks of this gate and round; a question that is there twice goes but once where nobody answered it."""
        tasks = without_doubles(self.client, self.client.tasks(self.project), self._subject)
        for task in tasks:
            renew_link(self.client, task, self._picture_path(cast(SubjectId, self._subject(task))), self._links)
        return tasks

    def _subject(self, task: dict[str, Any]) -> SubjectId | None:
        asked = subject_of(task, self.gate) if self.scope.holds(task) else None
        return (asked.mask_id or asked.image_id) if asked else None


class ExhaustivityRound(QuestionRound):
    """Asks of a sample of the round's images whether every object has a mask."""

    gate = "exhaustivity"

    def draw(self, published: Set[SubjectId]) -> None:
        place: dict[str, str | int] = {"stage": self.record.stage, "round": self.record.round}
        gone = set(self.store.read_rows("returned", **place)["image_id"].to_pylist())
        image_ids = [image_id for image_id in self.record.worked_on if image_id not in gone]
        drawn = sample_images(
            image_ids,
            count=sample_size(len(image_ids), self.sample_frac),
            gate=self.gate,
            seed=self.config.seed,
            stage=self.record.stage,
            round=self.record.round,
        )
        more = sorted(published - set(drawn))
        self.records.draw([Question(image_id) for image_id in (*drawn, *more)])

    def view(self, subject: SubjectId) -> Image.Image:
        masks = self._masks_by_image.get(subject, [])
        return exhaustivity_view(self.store.load_image(subject), masks, seed=self.config.seed)

    def task(self, subject: SubjectId, url: str) -> dict[str, Any]:
        masks = len(self._masks_by_image.get(subject, []))
        return exhaustivity_task(subject, url, stage=self.record.stage, round=self.record.round, masks=masks)

    def state(self, tasks: Sequence[dict[str, Any]]) -> GateState:
        return self.concluded(self.kept_answers(image_verdicts(tasks), self._verdict))

    def _verdict(self, question: Question, given: Answer) -> ImageVerdict:
        place = (question.image_id, self.record.stage, self.record.round)
        return ImageVerdict(*place, cast(Completeness, given.answer), given.annotator, given.seconds, given.comment)

    @cached_property
    def _masks_by_image(self) -> Mapping[int, Sequence[Any]]:
        return masks_by_image(self.masks)
