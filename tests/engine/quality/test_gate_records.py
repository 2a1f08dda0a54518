"""What a gate asks and what was answered, kept in tables."""

import math
from pathlib import Path

import pyarrow.compute as pc
import pytest

from engine.keys import content_key
from engine.labeling.folder import Scope
from engine.quality.gate_records import SKIPPED, Answer, GateRecords, Question
from engine.quality.gate_sample import GateSample
from engine.quality.returned import masks_shown_again, returned_images, take_out, waiting
from engine.store import Store
from schemas.errors import InputError
from schemas.tables import Round, table_of
from tests.engine.quality.test_gate_sample import CARD, sample_of
from tests.engine.stores import store_of_images

STAGE = "semi_automatic"
IMAGE, OTHER = 5, 6
GOOD, BAD = Answer("good", "label_studio:3", 2.5, ""), Answer("bad", "label_studio:4", None, "frayed")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A round with six masks of one image."""
    made = store_of_images(tmp_path, [IMAGE, OTHER])
    made.replace_shard(STAGE, "000000", sample_of().masks, round=2, key=content_key("masks"))
    made.put_round(Round(STAGE, 2, (IMAGE, OTHER), "annotated"))
    return made


@pytest.fixture
def records(store: Store) -> GateRecords:
    return GateRecords(store, Scope("verification", STAGE, 2))


def test_a_kept_sample_is_the_same(records: GateRecords) -> None:
    assert records.sample() is None
    assert not records.is_drawn()
    sample = sample_of()
    records.put_sample(sample)
    kept = records.sample()
    assert kept is not None
    assert kept.masks.equals(sample.masks)
    assert (kept.pre_answers, kept.audited, kept.verifier) == (sample.pre_answers, sample.audited, CARD)
    assert [question.mask_id for question in records.questions() if question.for_people] == sample.asked


def test_an_empty_sample_is_drawn_too(records: GateRecords) -> None:
    records.put_sample(GateSample(sample_of().masks.slice(0, 0)))
    assert records.is_drawn()
    assert records.questions() == []


def test_answers_stay_and_the_last_counts(store: Store, records: GateRecords) -> None:
    sample = sample_of()
    records.put_sample(sample)
    first, second, third, *_ = sample.mask_ids
    records.put_answers({first: GOOD, second: Answer(SKIPPED, "", None, "")})
    records.put_answers({second: BAD, 99: GOOD})
    before = store.versions()["questions"]
    records.put_answers({first: GOOD})
    records.put_answers({})
    assert store.versions()["questions"] == before, "what is there is not written again"
    answers = {question.mask_id: question.answer for question in records.questions()}
    assert (answers[first], answers[second], answers[third]) == (GOOD, BAD, None)
    records.put_sample(sample.without_verifier("people disagree"))
    assert records.verdicts() == {first: "good", second: "bad"}, "a new draw forgets no answer"
    assert records.verifier()["reason"] == "people disagree"


def test_two_gates_and_two_rounds_do_not_know_of_each_other(store: Store, records: GateRecords) -> None:
    records.put_sample(sample_of())
    images = GateRecords(store, Scope("exhaustivity", STAGE, 2))
    later = GateRecords(store, Scope("verification", STAGE, 3))
    assert not images.is_drawn()
    assert not later.is_drawn()
    images.draw([Question(OTHER), Question(IMAGE)])
    images.put_answers({IMAGE: Answer("missing", "label_studio:3", 1.0, "")})
    assert [(each.subject, each.answer and each.answer.answer) for each in images.questions()] == [
        (OTHER, None),
        (IMAGE, "missing"),
    ]
    assert len(records.questions()) == 6
    images.finish()
    finished = {row["gate"]: row["finished"] for row in store.read_rows("gates").to_pylist()}
    assert finished == {"exhaustivity": True, "verification": False}


def test_masks_that_a_gate_took_out_are_still_in_its_sample(store: Store, records: GateRecords) -> None:
    sample = sample_of()
    records.put_sample(sample)
    record = store.rounds(STAGE)[0]
    take_out(store, "verification", record, images={IMAGE}, mask_ids={sample.mask_ids[1]})
    assert len(store.read_table(STAGE)) == 0
    kept = records.sample()
    assert kept is not None
    assert kept.masks.equals(sample.masks)
    (back,) = returned_images(store)
    shown = [row["mask_id"] for row in masks_shown_again(store, back)]
    assert shown == sorted(set(sample.mask_ids) - {sample.mask_ids[1]})
    assert waiting([back], store.rounds()) == [back]
    assert waiting([back], [*store.rounds(), Round(STAGE, 3, (IMAGE,))]) == []
    versions = store.versions()
    take_out(store, "verification", record, images={IMAGE}, mask_ids={sample.mask_ids[1]})
    assert store.versions() == versions, "done again it changes nothing"


def test_killed_between_what_is_kept_and_what_leaves(
    store: Store, records: GateRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = sample_of()
    record, gone = store.rounds(STAGE)[0], {sample.mask_ids[1]}
    with monkeypatch.context() as patch:
        patch.setattr(Store, "replace_shard", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            take_out(store, "verification", record, images=set(), mask_ids=gone)
    assert len(store.read_table(STAGE)) == 6
    take_out(store, "verification", record, images=set(), mask_ids=gone)
    assert gone.isdisjoint(store.read_table(STAGE)["mask_id"].to_pylist())
    removed = store.read_rows("removed")
    assert removed["mask_id"].to_pylist() == list(gone)
    assert not any(removed["shown_again"].to_pylist())
    assert store.find_mask(sample.mask_ids[1]) is not None, "explain still knows it"


def test_a_mask_that_is_in_no_table_is_named(store: Store, records: GateRecords) -> None:
    sample = sample_of()
    records.put_sample(sample)
    left = sample.masks.filter(pc.not_equal(sample.masks["mask_id"], sample.mask_ids[2]))
    store.replace_shard(STAGE, "000000", left, round=2, key=content_key("less"))
    with pytest.raises(InputError, match=f"mask {sample.mask_ids[2]}, which the gate verification"):
        records.sample()


def test_seconds_that_are_not_known(records: GateRecords) -> None:
    sample = sample_of()
    records.put_sample(sample)
    records.put_answers({sample.mask_ids[0]: BAD})
    answer = records.questions()[0].answer
    assert answer is not None
    assert answer.seconds is None
    assert math.isclose(GOOD.seconds or 0.0, 2.5)
    assert table_of("questions", []).num_rows == 0
