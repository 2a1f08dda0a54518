"""The verification gate: which masks are asked about, what people see, and how the verifier's answers count."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from engine.quality.gate_sample import GateSample
from engine.quality.sampling import sample_masks
from engine.quality.verdicts import Consequences
from engine.quality.views import jpeg_bytes, verification_view
from engine.store import Store
from schemas.labeling import Verdict
from schemas.rle import Rle
from stages import verifier
from stages.verification import VerificationRound
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.stages.gates_at_work import STAGE, annotated_round, answer, label_studio, subjects

CARD = {
    "stated_precision": 0.5,
    "learnt_from": 300,
    "id": "verifier:abc",
    "out_of_fold": {
        "good": {"threshold": 0.5, "masks": 10, "right": 9},
        "bad": {"threshold": None, "masks": 0, "right": 0},
    },
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    return label_studio(monkeypatch)


@pytest.fixture
def store(server: FakeLabelStudio, tmp_path: Path) -> Store:
    return annotated_round(tmp_path)


def gate(store: Store) -> VerificationRound:
    return VerificationRound(store, store.files.settings(), store.rounds()[0], lambda *_: None)


def sampled(store: Store, frac: float) -> list[int]:
    return sample_masks(store.read_rows(STAGE, round=1), frac=frac, seed=0, stage=STAGE, round=1)


def test_a_share_of_the_masks_is_asked_about_in_the_order_of_the_draw(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, verify_frac=0.25)
    state = gate(store).move()
    assert subjects(server, "mask_id") == sampled(store, 0.25)
    assert (state.finished, state.asked, state.answered, state.verifier) == (False, 3, 0, None)
    for row in store.read_rows(STAGE, round=1).to_pylist():
        path = f"verification/{STAGE}-1/{row['mask_id']}.jpg"
        file = store.workspace / "labeling" / "images" / path
        assert file.exists() == (row["mask_id"] in sampled(store, 0.25))
        if file.exists():
            view = verification_view(store.load_image(row["image_id"]), Rle.of_row(row))
            assert file.read_bytes() == jpeg_bytes(view)
            assert {
                "image": f"/data/local-files/?d={path}",
                "gate": "verification",
                "mask_id": str(row["mask_id"]),
                "image_id": str(row["image_id"]),
                "stage": STAGE,
                "round": 1,
            } in [task["data"] for task in server.stored.values()]


def test_masks_that_were_asked_about_before_the_draw_was_kept_are_the_sample(
    server: FakeLabelStudio, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of their ids, less those that are no more; no verifier answers any."""
    monkeypatch.setattr(VerificationRound, "verifier", None)
    rows = store.read_rows(STAGE, round=1).sort_by("mask_id").to_pylist()[:4]
    place = {"gate": "verification", "stage": STAGE, "round": 1, "image": ""}
    asked = [place | {"mask_id": str(row["mask_id"]), "image_id": str(row["image_id"])} for row in rows[::-1]]
    asked.append(place | {"mask_id": "5", "image_id": str(rows[0]["image_id"])})
    server.import_tasks(7, [{"data": data} for data in asked])
    state = gate(store).move()
    sample = gate(store).records.sample()
    assert sample is not None
    assert sample.mask_ids == [row["mask_id"] for row in rows]
    assert state.asked == 4
    assert len(server.stored) == 5


def test_what_people_say_is_counted_and_has_its_consequences(server: FakeLabelStudio, store: Store) -> None:
    gate(store).move()
    asked = subjects(server, "mask_id")
    said = {1: "bad", 2: "reject", 3: ""}
    for number in range(1, 13):
        if said.get(number, "good"):
            answer(server, number, said.get(number, "good"))
    open_still = gate(store).move()
    assert (open_still.finished, open_still.asked, open_still.answered) == (False, 12, 11)
    server.submit(3, at="2026-03-01T00:00:30Z", was_cancelled=True)
    done = gate(store).move()
    assert (done.finished, done.asked, done.answered) == (True, 12, 12)
    images = {row["mask_id"]: row["image_id"] for row in store.read_rows("removed").to_pylist()}
    assert done.consequences == Consequences((asked[1],), (asked[0],), (), (images[asked[0]],))
    assert done.summary is not None
    assert {name: share.count for name, share in done.summary.shares.items()} == {"good": 9, "bad": 1, "reject": 1}
    assert (done.summary.skipped, done.summary.answers, done.summary.seconds_per_answer) == (1, 11, 4.0)


def with_verifier(store: Store, given: dict[int, Verdict], *, audited: frozenset[int] = frozenset()) -> GateSample:
    """Draw a sample of which a verifier answered some."""
    round_of = gate(store)
    masks = round_of.masks.take(
        pc.index_in(pc.cast(sampled(store, 1.0), "int64"), value_set=round_of.masks["mask_id"].combine_chunks())
    )
    sample = GateSample(masks, given, audited, CARD)
    round_of.records.put_sample(sample)
    return sample


def test_what_the_verifier_says_counts_where_nobody_was_asked(server: FakeLabelStudio, store: Store) -> None:
    first, second, third, *rest = sampled(store, 1.0)
    with_verifier(store, {first: "bad", second: "good", third: "good"}, audited=frozenset({third}))
    opened = gate(store).move()
    assert sorted(subjects(server, "mask_id")) == sorted([third, *rest])
    assert (opened.asked, opened.answered) == (10, 0), "of people"
    assert opened.verifier is not None
    assert (opened.verifier.questions, opened.verifier.asked) == (12, 10)
    assert opened.verifier.pre_answered == {"good": 1, "bad": 1}
    for number in server.stored:
        answer(server, number, "good")
    done = gate(store).move()
    assert (done.finished, done.asked, done.answered) == (True, 10, 10)
    assert done.summary is not None
    assert done.summary.answers == 12
    assert {who: share.total for who, share in done.summary.accepted_by.items()} == {
        "label_studio:3": 10,
        "verifier:abc": 2,
    }
    assert done.summary.seconds_per_answer == 4.0, "the verifier's time is not known"
    assert done.consequences.to_correct == (first,)
    assert done.verifier is not None
    assert done.verifier.audit is not None
    assert (done.verifier.audit.count, done.verifier.audit.total) == (1, 1)


@pytest.mark.parametrize(("precision", "trusted"), [(0.79, True), (0.8, False)])
def test_a_verifier_is_trusted_as_long_as_its_precision_may_be_the_stated_one(
    server: FakeLabelStudio, store: Store, precision: float, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of one audited mask: the precision is .79 at most."""
    monkeypatch.setitem(CARD, "stated_precision", precision)
    first, second, *rest = sampled(store, 1.0)
    with_verifier(store, {first: "bad", second: "good"}, audited=frozenset({second}))
    gate(store).move()
    for number in server.stored:
        answer(server, number, "good" if subjects(server, "mask_id")[number - 1] != second else "reject")
    state = gate(store).move()
    assert state.finished == trusted
    assert len(server.stored) == len(rest) + (1 if trusted else 2)
    if trusted:
        return
    assert (state.asked, state.answered) == (12, 11)
    assert state.verifier is not None
    assert state.verifier.reason == (
        "people answered 0 of 1 audited masks as the verifier did, which does not go with its stated precision of 0.8"
    )
    assert subjects(server, "mask_id")[-1] == first
    sample = gate(store).records.sample()
    assert sample is not None
    assert (dict(sample.pre_answers), sample.audited) == ({}, frozenset())


def test_people_are_not_asked_everything_before_they_have_answered(server: FakeLabelStudio, store: Store) -> None:
    first, second, *_ = sampled(store, 1.0)
    with_verifier(store, {first: "bad", second: "good"}, audited=frozenset({second}))
    gate(store).move()
    number = subjects(server, "mask_id").index(second) + 1
    answer(server, number, "reject")
    gate(store).move()
    assert len(server.stored) == 11


def test_the_verifier_draws_the_sample_of_the_round(
    server: FakeLabelStudio, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Drawing:
        def __init__(self, *given: Any) -> None:
            made.extend(given)

        def sample(self, masks: Any) -> GateSample:
            return replace(GateSample(masks), verifier={"stated_precision": 0.5, "learnt_from": 1, "reason": "few"})

    monkeypatch.setattr(verifier, "RoundVerifier", Drawing)
    round_of = gate(store)
    state = round_of.move()
    assert made == [store, round_of.config, round_of.record, round_of.progress]
    assert state.verifier is not None
    assert state.verifier.reason == "few"
    assert subjects(server, "mask_id") == sampled(store, 1.0)
