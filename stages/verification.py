"""The verification gate: people say of a sample of a round's masks whether they are good, bad or no object at all.

Masks that the verifier is sure about it answers itself (`stages.verifier`); people see the rest and some of these.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from engine.quality.gate_records import Answer, Question
from engine.quality.gate_sample import GateSample
from engine.quality.sampling import sample_masks
from engine.quality.verdicts import Answers, MaskVerdict, mask_verdicts, verification_task
from engine.quality.verifier_summary import audit_of, verifier_summary
from engine.quality.views import verification_view
from schemas.labeling import Verdict
from schemas.rle import Rle
from stages.gates import GateState, QuestionRound, SubjectId

if TYPE_CHECKING:
    from stages.verifier import RoundVerifier


class VerificationRound(QuestionRound):
    """Asks of a sample of the round's masks whether they are right.

    The sample, with what the verifier answers of it, is kept before the first question goes out: killed anywhere, the
    same masks are asked, each once, and none is forgotten.
    """

    gate = "verification"

    def draw(self, published: Set[SubjectId]) -> None:
        ids = sorted(published)
        if not ids:
            stage, number = self.record.stage, self.record.round
            ids = sample_masks(self.masks, frac=self.sample_frac, seed=self.config.seed, stage=stage, round=number)
        there = pc.index_in(pa.array(ids, pa.int64()), value_set=self.masks["mask_id"].combine_chunks())
        rows = self.masks.take(there.drop_null())
        self.records.put_sample(GateSample(rows) if published else self.verifier.sample(rows))

    def view(self, subject: SubjectId) -> Image.Image:
        row = self._rows[subject]
        return verification_view(self.store.load_image(row["image_id"]), Rle.of_row(row))

    def task(self, subject: SubjectId, url: str) -> dict[str, Any]:
        return verification_task(self._rows[subject], url)

    def state(self, tasks: Sequence[dict[str, Any]]) -> GateState:
        answers = self.kept_answers(mask_verdicts(tasks), self._verdict)
        given = self.records.verdicts()
        if not answers.unanswered and self._distrusted(given):
            return self.move()
        found = self.concluded(self._with_pre_answers(answers), verifier=verifier_summary(self._sample, given))
        of_people = len(answers.verdicts) + len(answers.skipped)
        return replace(found, answered=of_people, asked=of_people + len(answers.unanswered))

    @cached_property
    def verifier(self) -> "RoundVerifier":
        from stages.verifier import RoundVerifier  # needs torch, which a gate that only asks has no use for

        return RoundVerifier(self.store, self.config, self.record, self.progress)

    @property
    def _sample(self) -> GateSample:
        kept = self.records.sample()
        if kept is None:
            raise RuntimeError("the sample of a gate is kept before anything else happens to it")
        return kept

    @cached_property
    def _rows(self) -> dict[int, dict[str, Any]]:
        return {row["mask_id"]: row for row in self._sample.masks.to_pylist()}

    def _verdict(self, question: Question, given: Answer) -> MaskVerdict:
        place = (question.mask_id, question.image_id, self.record.stage, self.record.round)
        return MaskVerdict(*place, cast(Verdict, given.answer), given.annotator, given.seconds, given.comment)

    def _with_pre_answers(self, answers: Answers[MaskVerdict]) -> Answers[MaskVerdict]:
        """With the verifier's, under its own name, for the masks that nobody was asked about."""
        sample = self._sample
        own = [
            MaskVerdict(
                mask_id,
                self._rows[mask_id]["image_id"],
                self.record.stage,
                self.record.round,
                verdict,
                annotator=sample.verifier["id"],
                seconds=None,
                comment="",
            )
            for mask_id, verdict in sample.pre_answers.items()
            if mask_id not in sample.audited
        ]
        return replace(answers, verdicts=(*answers.verdicts, *own))

    def _distrusted(self, given: Mapping[int, Verdict]) -> bool:
        """Whether people answered the audited masks so differently that they are now asked about all of them."""
        sample, audit = self._sample, audit_of(self._sample, given)
        if audit is None or audit.high >= sample.verifier["stated_precision"]:
            return False
        reason = (
            f"people answered {audit.count} of {audit.total} audited masks as the verifier did, which does not go with "
            f"its stated precision of {sample.verifier['stated_precision']:g}"
        )
        self.records.put_sample(sample.without_verifier(reason))
        return True
