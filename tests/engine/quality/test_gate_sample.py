"""The sample of a verification gate as it is kept, and what the verifier did with it."""

import json

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.quality.gate_sample import GateSample
from engine.quality.verifier_summary import audit_of, verifier_lines, verifier_summary
from schemas.tables import table_of
from tests.rows import mask_row

SURE = {"threshold": 0.8, "masks": 40, "right": 39}
NOWHERE = {"threshold": None, "masks": 0, "right": 0}
CARD = {
    "stated_precision": 0.9,
    "learnt_from": 100,
    "id": "verifier:ab",
    "out_of_fold": {"good": SURE, "bad": NOWHERE},
}


def sample_of(count: int = 6) -> GateSample:
    """Masks 0 to 3 are answered, 0 and 3 of them audited."""
    rows = []
    for number in range(count):
        mask = np.zeros((4, 8), dtype=bool)
        mask[0, : number + 1] = True
        place = {"image_id": 5, "shard": "000000", "stage": "semi_automatic", "round": 2}
        scores = {"predicted_iou": 0.5, "stability_score": 0.25}  # tables with NaN are not equal to themselves
        rows.append(mask_row(rle_codec.encode(mask), origin="manual", annotator="a", **scores, **place))
    sample = GateSample(table_of("semi_automatic", rows))
    ids = sample.mask_ids
    answered = {ids[0]: "good", ids[1]: "good", ids[2]: "good", ids[3]: "bad"}
    return GateSample(sample.masks, answered, frozenset({ids[0], ids[3]}), CARD)  # type: ignore[arg-type]


def test_what_is_asked() -> None:
    sample = sample_of()
    ids = sample.mask_ids
    assert sample.asked == [ids[0], ids[3], ids[4], ids[5]]
    assert sample.without_verifier("no").asked == ids
    assert sample.without_verifier("no").verifier == CARD | {"reason": "no"}


def test_the_summary_by_hand() -> None:
    sample = sample_of()
    ids = sample.mask_ids
    assert audit_of(sample, {}) is None
    found = verifier_summary(sample, {ids[0]: "good", ids[3]: "reject", ids[4]: "good"})
    assert found is not None
    assert (found.questions, found.asked, found.pre_answered) == (6, 4, {"good": 2, "bad": 0})
    assert found.audit is not None
    assert (found.audit.count, found.audit.total) == (2, 2), "reject is not good either"
    assert list(found.out_of_fold) == ["good"]
    assert found.out_of_fold["good"].frac == pytest.approx(39 / 40)
    text = "\n".join(verifier_lines(found))
    assert "The verifier answers 2 of 6 questions (2 good, 0 bad)." in text
    assert "verifier:ab, which learnt from 100 answers" in text
    assert "good 98% (87% to 100%) of 40" in text
    assert "2 of 2" in text
    assert json.loads(json.dumps(found.to_dict()))["audit"]["count"] == 2
    wrong = audit_of(sample, {ids[0]: "bad", ids[3]: "good"})
    assert wrong is not None
    assert wrong.count == 0


def test_without_a_verifier() -> None:
    assert verifier_summary(GateSample(sample_of().masks), {}) is None
    assert verifier_lines(None) == []
    reason = GateSample(
        sample_of().masks, verifier={"stated_precision": 0.9, "learnt_from": 3, "reason": "too few answers"}
    )
    lines = verifier_lines(verifier_summary(reason, {}))
    assert lines[-1] == "People are asked all 6 questions: too few answers."
