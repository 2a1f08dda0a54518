"""The verifier at the verification gate, over a stand-in for Label Studio: who is asked what, and that nothing is lost
or asked twice wherever a run is killed."""

from pathlib import Path
from typing import Any

import pytest

from engine.quality.gate_records import Answer, GateRecords
from schemas.errors import InputError, WaitError
from stages import verifier
from stages.quality import move_gate
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.stages.verifiers_at_work import (
    STAGE,
    answer,
    answer_rightly,
    asked,
    damage,
    forget_the_draw,
    make_store,
    of_round,
    stand_in,
    verification_records,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    return stand_in(monkeypatch)


def test_it_saves_questions(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    before = store.read_rows(STAGE, round=2).to_pylist()
    first = move_gate(store, "verification")
    sample = verification_records(store, 2).sample()
    assert sample is not None
    assert asked(server) == sample.asked
    saved = len(before) - len(asked(server))
    assert saved >= 9
    assert f"the verifier answers {saved} of 18 questions" in first.message
    assert 1 <= len(sample.audited) <= len(asked(server)), "people see some of what it is sure about"
    assert move_gate(store, "verification") == first, "nothing is published twice"
    assert sorted(asked(server)) == sorted(sample.asked)

    answer_rightly(server, store)
    done = move_gate(store, "verification")
    assert done.finished
    assert done.found is not None
    found = done.found["verifier"]
    assert (found["questions"], found["asked"], found["learnt_from"]) == (18, 18 - saved, 60)
    assert sum(found["pre_answered"].values()) == saved
    assert found["audit"]["count"] == found["audit"]["total"] == len(sample.audited)
    assert found["out_of_fold"]["good"]["frac"] >= 0.9
    assert done.found["answers"] == 18, "the shares are those of the whole sample"
    by = done.found["accepted_by"]
    assert {who: share["total"] for who, share in by.items()} == {"label_studio:3": 18 - saved, found["id"]: saved}
    assert found["id"].startswith("verifier:")
    report = (store.workspace / "reports" / "quality-verification-assisted_manual-2.md").read_text()
    assert "# Verifier" in report
    assert "Stated precision 0.9" in report
    gone = {row["image_id"] for row in before} - {
        row["image_id"] for row in store.read_rows(STAGE, round=2).to_pylist()
    }
    assert gone == {before_row["image_id"] for before_row in before if before_row["area"] < 140}
    assert move_gate(store, "verification").message == done.message, "drawn once, and nothing more is asked"
    folders = list((store.workspace / "labeling" / "verifiers").iterdir())
    assert [folder.name for folder in folders] == [found["id"].removeprefix("verifier:")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"answered": 0}, "earlier gates gave 0 answers"),
        ({"answered": 8}, "gave 48 answers, 24 of them good; the verifier learns from 50"),
        ({"verifier_precision": None}, None),
    ],
)
def test_people_answer_all(
    server: FakeLabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, said: str | None
) -> None:
    monkeypatch.setattr(verifier, "load_model", None)  # no picture is looked at
    store = make_store(tmp_path, **settings)
    message = move_gate(store, "verification").message
    assert len(server.stored) == 18
    assert ("people are asked all 18 questions" in message) == (said is not None)
    answer_rightly(server, store)
    done = move_gate(store, "verification")
    assert done.finished
    assert done.found is not None
    if said is None:
        assert done.found["verifier"] is None
    else:
        assert said in done.found["verifier"]["reason"]


@pytest.mark.parametrize("lost_answer", [False, True])
def test_killed_anywhere_the_same_is_asked_once(server: FakeLabelStudio, tmp_path: Path, lost_answer: bool) -> None:
    store = make_store(tmp_path)
    gate, expected = verification_records(store, 2), None
    server.lost_answer = lost_answer
    for call in range(1, 20):
        server.stored.clear()
        forget_the_draw(store, 2)
        server.calls, server.fail_at = 0, call
        try:
            move_gate(store, "verification")
            break
        except WaitError:
            pass
        server.fail_at = 0
        move_gate(store, "verification")
        assert sorted(asked(server)) == sorted(set(asked(server)))
        expected = expected or sorted(asked(server))
        assert sorted(asked(server)) == expected
        sample = gate.sample()
        assert sample is not None
        assert sorted(sample.asked) == expected
    assert call > 4, "every call failed once"


def test_killed_before_the_sample_is_kept(
    server: FakeLabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(GateRecords, "put_sample", lambda self, sample: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            move_gate(store, "verification")
    assert not server.stored, "nothing is asked before it is known what"
    monkeypatch.setattr(verifier, "fit_verifier", None)  # the verifier is found, not trained again
    monkeypatch.setattr(verifier, "load_model", None)  # and no picture is looked at a second time
    move_gate(store, "verification")
    assert len(server.stored) < 18


def test_people_who_disagree_are_asked_everything(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    move_gate(store, "verification")
    for number in list(server.stored):
        answer(server, number, "reject")
    found = move_gate(store, "verification")
    assert not found.finished
    assert "does not go with its stated precision of 0.9" in found.message
    assert sorted(asked(server)) == sorted(row["mask_id"] for row in store.read_rows(STAGE, round=2).to_pylist())
    answer_rightly(server, store)
    assert move_gate(store, "verification").finished


def test_questions_from_before_samples_were_kept(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    move_gate(store, "verification")
    out = asked(server)
    forget_the_draw(store, 2)
    move_gate(store, "verification")
    assert asked(server) == out


def test_an_interrupted_sample_of_images_is_completed(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    server.fail_at = 4  # projects, tasks, the first chunk, the second
    with pytest.raises(WaitError):
        move_gate(store, "exhaustivity")
    assert len(server.stored) == 2
    move_gate(store, "exhaustivity")
    assert len({task["data"]["image_id"] for task in server.stored.values()}) == len(server.stored) == 6


def test_answers_that_were_read_stay(server: FakeLabelStudio, tmp_path: Path) -> None:
    """A project that somebody empties takes no answer with it."""
    store = make_store(tmp_path, answered=0)
    move_gate(store, "verification")
    answer_rightly(server, store)
    move_gate(store, "verification")
    gate = verification_records(store, 2)
    known = gate.verdicts()
    assert list(known.values()).count("good") == 17
    server.stored.clear()
    found = move_gate(store, "verification")
    assert found.finished
    assert not server.stored, "what was answered is not asked again"
    assert gate.verdicts() == known
    other = next(iter(known))
    gate.put_answers({other: Answer("reject", "", None, "")})
    assert gate.verdicts() == known | {other: "reject"}


def test_pictures_that_cannot_be_read_any_more_have_no_answer_and_stop_nothing(
    server: FakeLabelStudio, tmp_path: Path
) -> None:
    store = make_store(tmp_path)
    (gone,) = damage(store, 1)
    first = move_gate(store, "verification")
    sample = verification_records(store, 2).sample()
    assert sample is not None
    of_gone = {row["mask_id"] for row in sample.masks.to_pylist() if row["image_id"] == gone}
    assert len(of_gone) == 3
    assert not of_gone & (sample.pre_answers.keys() | set(asked(server)))
    assert sample.pre_answers, "of the others it says what it is sure about"
    assert "; 1 picture cannot be read" in first.message
    answer_rightly(server, store)
    done = move_gate(store, "verification")
    assert done.finished
    assert done.found is not None
    assert (done.found["skipped"], done.found["answers"], done.found["verifier"]["unreadable"]) == (3, 15, 1)
    report = (store.workspace / "reports" / "quality-verification-assisted_manual-2.md").read_text()
    assert "Pictures that cannot be read, of whose masks it says nothing: 1." in report


def test_features_of_pictures_that_cannot_be_read_are_made_again(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    good = {row["image_id"]: (store.workspace / row["path"]).read_bytes() for row in store.images().to_pylist()}
    (gone,) = damage(store, 1)
    gate = verification_records(store, 1).sample()
    assert gate is not None
    features = of_round(store)._features("verification-x-1", gate)
    unread = [row["image_id"] == gone for row in gate.masks.to_pylist()]
    assert (~features.isfinite().any(dim=1)).tolist() == unread
    path = store.workspace / next(row["path"] for row in store.images().to_pylist() if row["image_id"] == gone)
    path.write_bytes(good[gone])
    assert of_round(store)._features("verification-x-1", gate).isfinite().all()


def test_where_too_few_answered_pictures_can_be_read_people_are_asked_all(
    server: FakeLabelStudio, tmp_path: Path
) -> None:
    store = make_store(tmp_path)
    damage(store, 2)  # 40 of 60 answers are left, of 50 that it takes
    sample = of_round(store).sample(store.read_rows(STAGE, round=2))
    assert sample.pre_answers == {}
    assert sample.verifier["reason"] == "of the pictures of 60 answers of earlier gates too few can still be read"


def test_where_most_pictures_cannot_be_read_the_gate_says_so(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = make_store(tmp_path, verifier_precision=None)
    damage(store, 4)
    with pytest.raises(InputError, match=r"^more than half of the pictures of the gate verification cannot be read: "):
        move_gate(store, "verification")
    assert all(question.answer is None for question in verification_records(store, 2).questions())
