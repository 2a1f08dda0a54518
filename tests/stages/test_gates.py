"""A gate over a round of four pictures: what is asked, shown, kept and told."""

from pathlib import Path
from typing import Any

import pytest

from engine.quality.gate_records import SKIPPED, Answer, GateRecords, Question
from engine.quality.sampling import sample_images
from engine.quality.verdicts import Consequences, ImageVerdict, image_verdicts
from engine.quality.views import exhaustivity_view, jpeg_bytes
from engine.store import Store
from schemas.errors import WaitError
from schemas.rle import Rle
from schemas.tables import table_of
from stages.gates import ExhaustivityRound, GateState
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.stages.gates_at_work import PROJECT_URL, STAGE, annotated_round, answer, label_studio, subjects

NOTHING = Consequences((), (), (), ())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    return label_studio(monkeypatch)


@pytest.fixture
def store(server: FakeLabelStudio, tmp_path: Path) -> Store:
    return annotated_round(tmp_path)


def gate(store: Store, told: list[Any] | None = None) -> ExhaustivityRound:
    def progress(what: str, done: int, total: int, note: str = "") -> None:
        if told is not None:
            told.append((what, done, total))

    return ExhaustivityRound(store, store.files.settings(), store.rounds()[0], progress)


def drawn(store: Store, count: int) -> list[int]:
    ids = store.rounds()[0].image_ids
    return sample_images(ids, count=count, gate="exhaustivity", seed=0, stage=STAGE, round=1)


def records(store: Store) -> GateRecords:
    return gate(store).records


def test_every_image_is_asked_about_once_in_the_order_of_the_draw(server: FakeLabelStudio, store: Store) -> None:
    told: list[Any] = []
    state = gate(store, told).move()
    assert state == GateState(False, PROJECT_URL, 4, 0, state.summary, NOTHING)
    assert state.summary is not None
    assert (state.summary.answers, state.summary.unanswered) == (0, 4)
    assert subjects(server) == drawn(store, 4)
    assert told == [("exhaustivity: publish", 2, 4), ("exhaustivity: publish", 4, 4)]
    assert [question.subject for question in records(store).questions()] == subjects(server)
    again: list[Any] = []
    assert gate(store, again).move() == state
    assert again == []
    assert len(server.stored) == 4


def test_a_task_shows_the_picture_with_all_its_masks(server: FakeLabelStudio, store: Store) -> None:
    gate(store).move()
    for task in server.stored.values():
        image_id = int(task["data"]["image_id"])
        path = f"exhaustivity/{STAGE}-1/{image_id}.jpg"
        assert task["data"] == {
            "image": f"/data/local-files/?d={path}",
            "gate": "exhaustivity",
            "image_id": str(image_id),
            "stage": STAGE,
            "round": 1,
            "masks": 3,
        }
        masks = [Rle.of_row(row) for row in store.read_rows(STAGE, image_id=image_id).sort_by("mask_id").to_pylist()]
        expected = jpeg_bytes(exhaustivity_view(store.load_image(image_id), masks, seed=0))
        assert (store.workspace / "labeling" / "images" / path).read_bytes() == expected


def test_an_image_whose_masks_are_gone_is_shown_bare(server: FakeLabelStudio, store: Store) -> None:
    for shard in store.shards():
        rows = store.read_shard(STAGE, shard, round=1)
        store.replace_shard(STAGE, shard, rows.slice(0, 0), round=1, key="0" * 16)
    assert gate(store).move().asked == 4
    assert {task["data"]["masks"] for task in server.stored.values()} == {0}


def test_images_that_an_earlier_gate_sent_back_are_not_asked_about(server: FakeLabelStudio, store: Store) -> None:
    first, second, *_ = store.rounds()[0].image_ids
    rows = [
        {
            "gate": "verification",
            "stage": STAGE,
            "round": number,
            "image_id": image_id,
            "shard": store.shard_of(image_id),
        }
        for image_id, number in ((first, 1), (second, 2))
    ]
    for row in rows:
        store.put_rows("returned", table_of("returned", [row]), by=("stage", "round", "image_id"))
    gate(store).move()
    assert sorted(subjects(server)) == sorted(set(store.rounds()[0].image_ids) - {first})


def test_questions_that_went_out_before_the_draw_was_kept_are_asked_too(
    server: FakeLabelStudio, tmp_path: Path
) -> None:
    store = annotated_round(tmp_path, verify_frac=0.25)
    (sample,) = drawn(store, 1)
    more = sorted(set(store.rounds()[0].image_ids) - {sample})[:2]
    place = {"gate": "exhaustivity", "stage": STAGE, "round": 1}
    server.import_tasks(7, [{"data": {"image": "", "image_id": str(each), **place}} for each in reversed(more)])
    state = gate(store).move()
    assert state.asked == 3
    assert [question.subject for question in records(store).questions()] == [sample, *more]
    assert subjects(server)[2:] == [sample]


def test_tasks_of_other_rounds_and_gates_are_left_alone(server: FakeLabelStudio, store: Store) -> None:
    image_id = store.rounds()[0].image_ids[0]
    place = {"gate": "exhaustivity", "stage": STAGE, "round": 1, "image_id": str(image_id)}
    strangers = [place | {"round": 2}, place | {"stage": "semi_automatic"}, place | {"gate": "audit"}, {}]
    server.import_tasks(7, [{"data": data} for data in strangers])
    for number in range(1, 5):
        answer(server, number, "missing")
    state = gate(store).move()
    assert (state.asked, state.answered) == (4, 0)
    assert len(server.stored) == 8


def test_answers_are_kept_counted_and_have_their_consequences(server: FakeLabelStudio, store: Store) -> None:
    gate(store).move()
    asked = subjects(server)
    answer(server, 1, "complete", comment="fine")
    answer(server, 2, "missing")
    server.submit(3, at="2026-03-01T00:00:03Z", was_cancelled=True)
    state = gate(store).move()
    assert (state.finished, state.asked, state.answered) == (False, 4, 3)
    assert state.consequences == Consequences((), (), (asked[1],), (asked[1],)), "what would follow so far"
    assert store.counts()[STAGE] == 12, "and has not yet"
    assert [question.answer for question in records(store).questions()] == [
        Answer("complete", "label_studio:3", 4.0, "fine"),
        Answer("missing", "label_studio:3", 4.0, ""),
        Answer(SKIPPED, "", None, ""),
        None,
    ]
    (row,) = store.read_rows("gates").to_pylist()
    assert row["finished"] is False
    answer(server, 4, "complete")
    done = gate(store).move()
    assert (done.finished, done.asked, done.answered) == (True, 4, 4)
    assert done.summary is not None
    assert (done.summary.answers, done.summary.skipped, done.summary.unanswered) == (3, 1, 0)
    assert done.summary.seconds_per_answer == 4.0
    (row,) = store.read_rows("gates").to_pylist()
    assert row["finished"] is True
    assert store.counts()[STAGE] == 9
    assert store.read_rows("returned")["image_id"].to_pylist() == [asked[1]]
    assert {row["gate"] for row in store.read_rows("returned").to_pylist()} == {"exhaustivity"}


def test_what_was_answered_stays_so_and_comes_in_the_order_of_ids(server: FakeLabelStudio, store: Store) -> None:
    gate(store).move()
    asked = subjects(server)
    for number in (1, 2, 3):
        answer(server, number, "complete", comment=f"of {number}")
    gate(store).move()
    server.stored = {4: server.stored[4]}
    round_of = gate(store)
    kept = round_of.kept_answers(image_verdicts(server.tasks(7)), round_of._verdict)
    assert [one.image_id for one in kept.verdicts] == sorted(asked[:3])
    comments = {image_id: f"of {number}" for number, image_id in enumerate(asked[:3], start=1)}
    assert kept.verdicts[0] == ImageVerdict(
        sorted(asked[:3])[0], STAGE, 1, "complete", "label_studio:3", 4.0, comments[sorted(asked[:3])[0]]
    )
    assert [(one.stage, one.round, one.image_id, one.mask_id) for one in kept.unanswered] == [(STAGE, 1, asked[3], 0)]
    assert kept.skipped == ()
    nothing = round_of.kept_answers(image_verdicts([]), round_of._verdict)
    assert [one.image_id for one in nothing.unanswered] == [asked[3]], "also where its task is gone"
    assert nothing.verdicts == kept.verdicts


def test_pictures_are_served_again_as_long_as_a_question_is_open(server: FakeLabelStudio, store: Store) -> None:
    gate(store).move()
    folder = store.workspace / "labeling" / "images" / "exhaustivity" / f"{STAGE}-1"
    asked = subjects(server)
    for image_id in asked[:2]:
        (folder / f"{image_id}.jpg").unlink()
    told: list[Any] = []
    gate(store, told).move()
    assert told == [("exhaustivity: pictures", 1, 2), ("exhaustivity: pictures", 2, 2)]
    assert {file.stem for file in folder.iterdir()} == set(map(str, asked))
    for number in range(1, 5):
        answer(server, number, "complete")
    assert gate(store).move().finished
    (folder / f"{asked[0]}.jpg").unlink()
    assert gate(store).move().finished
    assert not (folder / f"{asked[0]}.jpg").exists()


def test_a_question_that_the_verifier_answered_is_not_shown_to_people(server: FakeLabelStudio, store: Store) -> None:
    first, second, third, fourth = store.rounds()[0].image_ids
    pre = {"pre_answer": "complete"}
    records(store).draw(
        [Question(first), Question(second, **pre), Question(third, **pre, audited=True), Question(fourth)]
    )
    state = gate(store).move()
    assert sorted(subjects(server)) == sorted((first, third, fourth))
    assert (state.asked, state.answered) == (3, 0)
    assert not (store.workspace / "labeling" / "images" / f"exhaustivity/{STAGE}-1/{second}.jpg").exists()


def test_a_share_of_the_images_is_asked_about_by_the_seed(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, verify_frac=0.5)
    gate(store).move()
    assert subjects(server) == drawn(store, 2)
    everything = store.files.settings().model_copy(
        update={"gates": store.files.settings().gates.model_copy(update={"exhaustivity": "all"})}
    )
    assert ExhaustivityRound(store, everything, store.rounds()[0], lambda *_: None).sample_frac == 1.0
    assert gate(store).sample_frac == 0.5


def test_where_no_project_is_it_says_what_to_do(server: FakeLabelStudio, store: Store) -> None:
    server.titles = {}
    with pytest.raises(WaitError, match="sam-engine labeling setup"):
        gate(store).move()
    assert not records(store).is_drawn()
