"""What is known of one gate of a round: rows of the tables `questions` and `gates`.

The questions are kept before the first of them goes out, and every answer once it was read: wherever a gate is killed,
the same is asked, each once, and neither a project that somebody empties nor a lost folder takes an answer with it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc

from engine.labeling.folder import Scope
from engine.quality.gate_sample import GateSample
from engine.store import Store
from schemas.errors import InputError
from schemas.labeling import Verdict
from schemas.tables import MASKS, table_of

SKIPPED = "skipped"


class Answer(NamedTuple):
    """What somebody answered, or `SKIPPED`. seconds: that the task was open, None where that is not known."""

    answer: str
    annotator: str
    seconds: float | None
    comment: str


@dataclass(frozen=True)
class Question:
    """A question of a gate: about a mask, or about an image where mask_id is 0.

    pre_answer: the verifier's, "" for none. audited: people are asked although there is one. answer: people's, None
    before it is there.
    """

    image_id: int
    mask_id: int = 0
    pre_answer: str = ""
    audited: bool = False
    answer: Answer | None = None

    @property
    def subject(self) -> int:
        """Id of what is asked about."""
        return self.mask_id or self.image_id

    @property
    def for_people(self) -> bool:
        return self.audited or not self.pre_answer


class GateRecords:
    """The rows of one gate of one round."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self._store, self._scope = store, scope

    def is_drawn(self) -> bool:
        """Whether it is settled what is asked."""
        return bool(len(self._store.read_rows("gates", **self._columns)))

    def questions(self) -> list[Question]:
        """In the order of the draw; none before it."""
        if not self.is_drawn():
            return []
        rows = self._store.read_rows("questions", **self._columns).sort_by("place").to_pylist()
        return [_question(row) for row in rows]

    def verifier(self) -> dict[str, Any]:
        """`GateSample.verifier` of a gate that is drawn."""
        found: dict[str, Any] = json.loads(self._gate()["verifier"])
        return found

    def draw(self, questions: Sequence[Question], *, verifier: Mapping[str, Any] | None = None) -> None:
        """Settle what is asked, in place of what was before. Raises InputError if the disk is full."""
        rows = [self._row(place, question) for place, question in enumerate(questions)]
        self._store.replace_rows("questions", table_of("questions", rows), **self._columns)
        self._put_gate(finished=False, verifier=dict(verifier or {}))

    def put_answers(self, answers: Mapping[int, Answer]) -> None:
        """Keep what people answered, by subject; what was read before stays, and of two answers the new one counts."""
        rows = [
            self._row(place, replace(question, answer=answers[question.subject]))
            for place, question in enumerate(self.questions())
            if question.subject in answers and question.answer != answers[question.subject]
        ]
        self._store.put_rows("questions", table_of("questions", rows), by=(*self._columns, "place"))

    def finish(self) -> None:
        self._put_gate(finished=True, verifier=self.verifier())

    def sample(self) -> GateSample | None:
        """Of a verification gate, None before it is drawn. Raises InputError where a mask of it is in no table."""
        if not self.is_drawn():
            return None
        questions = self.questions()
        given = {each.mask_id: cast(Verdict, each.pre_answer) for each in questions if each.pre_answer}
        audited = frozenset(each.mask_id for each in questions if each.audited)
        return GateSample(self._masks([each.mask_id for each in questions]), given, audited, self.verifier())

    def put_sample(self, sample: GateSample) -> None:
        """Settle what a verification gate asks; answers that are there stay."""
        known = {question.subject: question.answer for question in self.questions()}
        rows = zip(sample.mask_ids, sample.masks["image_id"].to_pylist(), strict=True)
        questions = [
            Question(image_id, each, sample.pre_answers.get(each, ""), each in sample.audited, known.get(each))
            for each, image_id in rows
        ]
        self.draw(questions, verifier=sample.verifier)

    def verdicts(self) -> dict[int, Verdict]:
        """What people said so far of the masks of a verification gate."""
        return {
            question.mask_id: cast(Verdict, question.answer.answer)
            for question in self.questions()
            if question.answer is not None and question.answer.answer != SKIPPED
        }

    def _masks(self, mask_ids: Sequence[int]) -> pa.Table:
        """Rows of a masks table in the order of the ids, also of masks that a gate has taken out of it since."""
        stage, number = self._scope.stage, self._scope.round
        there = self._store.read_rows(stage, round=number)
        removed = self._store.read_rows("removed", stage=stage, round=number).select(MASKS.names)
        masks = pa.concat_tables([there, removed])
        places = pc.index_in(pa.array(mask_ids, pa.int64()), value_set=masks["mask_id"].combine_chunks())
        if places.null_count:
            lost = mask_ids[places.is_null().to_pylist().index(True)]
            raise InputError(
                f"{self._store.files}: mask {lost}, which the gate {self._scope.purpose} of {stage} round {number} "
                "asks about, is in no table; restore the folder `tables` from a backup"
            )
        return masks.take(places).combine_chunks()

    def _gate(self) -> dict[str, Any]:
        (row,) = self._store.read_rows("gates", **self._columns).to_pylist()
        return cast(dict[str, Any], row)

    def _put_gate(self, *, finished: bool, verifier: Mapping[str, Any]) -> None:
        row = {**self._columns, "finished": finished, "verifier": json.dumps(verifier, sort_keys=True)}
        self._store.put_rows("gates", table_of("gates", [row]), by=tuple(self._columns))

    def _row(self, place: int, question: Question) -> dict[str, Any]:
        answer = question.answer or Answer("", "", None, "")
        return {
            **self._columns,
            "place": place,
            "image_id": question.image_id,
            "shard": self._store.shard_of(question.image_id),
            "mask_id": question.mask_id,
            "pre_answer": question.pre_answer,
            "audited": question.audited,
            **answer._asdict(),
            "seconds": math.nan if answer.seconds is None else answer.seconds,
        }

    @cached_property
    def _columns(self) -> dict[str, Any]:
        return {"gate": self._scope.purpose, "stage": self._scope.stage, "round": self._scope.round}


def _question(row: Mapping[str, Any]) -> Question:
    seconds = None if math.isnan(row["seconds"]) else float(row["seconds"])
    given = Answer(row["answer"], row["annotator"], seconds, row["comment"]) if row["answer"] else None
    return Question(row["image_id"], row["mask_id"], row["pre_answer"], row["audited"], given)
