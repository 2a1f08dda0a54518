"""The gates of quality that masks pass: verification of a sample of masks, exhaustivity of a sample of images.

A tick publishes what is missing of the sample to the gate's project in Label Studio, reads the verdicts so far and,
once all are there, draws the consequences: rejected masks go, images with bad or missing masks go back to annotators
with the good ones.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from engine.files import write_atomic
from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.published import Prefilled
from engine.labeling.setup import known_project
from engine.quality.gate_summary import GateSummary, summaries
from engine.quality.returned import ReturnedImage, add_returned
from engine.quality.sampling import sample_images, sample_size
from engine.quality.verdicts import (
    Answers,
    AnyVerdict,
    Consequences,
    ImageVerdict,
    MaskVerdict,
    consequences,
    exhaustivity_task,
    image_verdicts,
    subject_of,
)
from engine.quality.verifier_summary import VerifierSummary
from engine.quality.views import exhaustivity_view, jpeg_bytes
from engine.rows import content_key
from engine.store import Store
from schemas.config import EngineConfig
from schemas.errors import WaitError
from schemas.labeling import Gate
from schemas.mask import Mask
from schemas.tables import Round
from stages.progress import Progress
from stages.records import masks_by_image

Subject = int  # id of a mask (verification) or of an image (exhaustivity)


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
        self.folder = LabelingFolder(store.workspace)
        self.scope = Scope(self.gate, record.stage, record.round)

    @cached_property
    def client(self) -> LabelStudioClient:
        return LabelStudioClient(self.folder.credentials(self.config.labeling.url))

    @cached_property
    def project(self) -> int:
        """Raises WaitError where there is none yet."""
        found = known_project(self.client, self.folder, self.gate, self.store.workspace.resolve().name)
        if found is None:
            raise WaitError(
                f"Label Studio at {self.client.url} has no project for {self.gate}; run: sam-engine labeling setup "
                f"{self.store.workspace} --gates"
            )
        return found

    @cached_property
    def masks(self) -> pa.Table:
        """The masks of the round, as they were when the gate first looked at them or as they are now."""
        rows = self.store.read_table(self.record.stage)
        return rows.filter(pc.equal(rows["round"], self.record.round))

    @property
    def url(self) -> str:
        """Where people answer."""
        return f"{self.client.url}/projects/{self.project}/data"


class QuestionRound(GateRound, ABC):
    """A gate that asks one question about each subject of a sample."""

    @abstractmethod
    def subjects(self, published: Set[Subject]) -> Sequence[Subject]:
        """What people are asked about, in the order of the draw. published: what they see already."""

    @abstractmethod
    def task(self, subject: Subject) -> dict[str, Any]:
        """The task that asks about a subject; its picture is written."""

    @abstractmethod
    def state(self, tasks: Sequence[dict[str, Any]]) -> GateState:
        """What the tasks say, once all are published, and the consequences where all are answered."""

    def move(self) -> GateState:
        """Publish what is missing, read what is answered, draw consequences once all is.

        Raises WaitError where Label Studio does not answer or has no such project.
        """
        tasks = self._tasks()
        there = [subject for task in tasks if (subject := subject_of(task, self.gate))]
        published = {subject.mask_id or subject.image_id for subject in there}
        missing = [subject for subject in self.subjects(published) if subject not in published]
        chunk = self.config.labeling.images_per_chunk
        for at in range(0, len(missing), chunk):
            self.client.import_tasks(self.project, [self.task(subject) for subject in missing[at : at + chunk]])
            self.progress(f"{self.gate}: publish", min(at + chunk, len(missing)), len(missing))
        return self.state(self._tasks() if missing else tasks)

    def concluded(self, answers: Answers[AnyVerdict], *, verifier: VerifierSummary | None = None) -> GateState:
        """The state that answers amount to; draws the consequences where none is missing."""
        masks = [one for one in answers.verdicts if isinstance(one, MaskVerdict)]
        found = consequences(masks, [one for one in answers.verdicts if isinstance(one, ImageVerdict)])
        finished = len(answers.unanswered) == 0
        if finished:
            self._draw(found)
        summary = next(iter(summaries(answers)), None)
        answered = len(answers.verdicts) + len(answers.skipped)
        asked = answered + len(answers.unanswered)
        return GateState(finished, self.url, asked, answered, summary, found, verifier)

    def _tasks(self) -> list[dict[str, Any]]:
        return [task for task in self.client.tasks(self.project) if self.scope.holds(task)]

    def picture(self, subject: Subject, data: bytes) -> str:
        """Write the picture of a task; gives back its address."""
        path = f"{self.scope.path}/{subject}.jpg"
        write_atomic(self.folder.images / path, data)
        return f"/data/local-files/?d={path}"

    def _draw(self, found: Consequences) -> None:
        """First what goes back is written down, then it leaves the table: killed in between, it is done again."""
        rows = self.masks.to_pylist()
        back, gone = set(found.to_annotators), set(found.taken_away)
        add_returned(
            self.folder,
            [
                self._returned(
                    image_id, [row for row in rows if row["image_id"] == image_id and row["mask_id"] not in gone]
                )
                for image_id in found.to_annotators
            ],
        )
        leaving = {row["mask_id"] for row in rows if row["image_id"] in back or row["mask_id"] in gone}
        for shard in sorted({row["shard"] for row in rows if row["mask_id"] in leaving}):
            kept = self.store.read_shard(self.record.stage, shard, round=self.record.round)
            kept = kept.filter(pc.invert(pc.is_in(kept["mask_id"], value_set=pa.array(sorted(leaving), pa.int64()))))
            before = self.store.committed(self.record.stage, shard, round=self.record.round)
            key = content_key(self.gate, before, sorted(leaving))
            self.store.replace_shard(self.record.stage, shard, kept, round=self.record.round, key=key)

    def _returned(self, image_id: int, rows: Sequence[dict[str, Any]]) -> ReturnedImage:
        image = self.store.read_image("images", image_id).to_pylist()[0]
        full_hw = (int(image["height"]), int(image["width"]))
        return ReturnedImage(
            image_id, self.record.stage, self.record.round, full_hw, tuple(as_prefilled(row) for row in rows)
        )


class ExhaustivityRound(QuestionRound):
    """Asks of a sample of the round's images whether every object has a mask."""

    gate = "exhaustivity"

    def subjects(self, published: Set[Subject]) -> Sequence[Subject]:
        count = sample_size(len(self.record.image_ids), self.config.labeling.verify_frac)
        return sample_images(
            self.record.image_ids,
            count=count,
            gate=self.gate,
            seed=self.config.seed,
            stage=self.record.stage,
            round=self.record.round,
        )

    def task(self, subject: Subject) -> dict[str, Any]:
        masks = self._masks_by_image.get(subject, [])
        view = exhaustivity_view(self.store.load_image(subject), masks, seed=self.config.seed)
        url = self.picture(subject, jpeg_bytes(view))
        return exhaustivity_task(subject, url, stage=self.record.stage, round=self.record.round, masks=len(masks))

    def state(self, tasks: Sequence[dict[str, Any]]) -> GateState:
        return self.concluded(image_verdicts(tasks))

    @cached_property
    def _masks_by_image(self) -> Mapping[int, Sequence[Any]]:
        return masks_by_image(self.masks)


def as_prefilled(row: dict[str, Any]) -> Prefilled:
    """A mask of a table as one that is shown ready-made and stays what it is where nobody touches it."""
    return Prefilled(f"mask-{row['mask_id']}", Mask.from_row(row))
