"""The verifier at the verification gate, over a stand-in for Label Studio: who is asked what, and that nothing is lost
or asked twice wherever a run is killed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine import rle as rle_codec
from engine.labeling import tool
from engine.labeling.folder import Scope
from engine.quality.gate_records import Answer, GateRecords
from engine.quality.gate_sample import GateSample
from engine.store import Store
from model.registry import list_models, model_roots
from schemas.errors import WaitError
from schemas.tables import Round, table_of
from stages import verifier
from stages.quality import move_gate
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace

STAGE = "assisted_manual"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    made = FakeLabelStudio()
    made.titles = {f"workspace: {gate}": 7 for gate in ("verification", "exhaustivity")}
    monkeypatch.setattr(tool, "LabelStudioClient", lambda credentials: made)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    monkeypatch.setattr(verifier, "MIN_ANSWERS", 50)
    return made


def solid(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((48, 56), dtype=bool)
    x, y, side = rng.integers(0, 30), rng.integers(0, 25), rng.integers(12, 20)
    mask[y : y + side, x : x + side] = True
    return mask


def shattered(rng: np.random.Generator) -> np.ndarray:
    return solid(rng) & (rng.random((48, 56)) < 0.4)


def rows_of(store: Store, number: int, kinds: Sequence[Any]) -> list[dict[str, Any]]:
    """Masks of a round, of each image one of each of the kinds."""
    rng, found = np.random.default_rng(number), []
    for row in store.images().to_pylist():
        for kind in kinds:
            place = {"image_id": row["image_id"], "shard": row["shard"], "stage": STAGE, "round": number}
            found.append(mask_row(rle_codec.encode(kind(rng)), origin="manual", annotator="label_studio:3", **place))
    return found


def verification_records(store: Store, number: int) -> GateRecords:
    return GateRecords(store, Scope("verification", STAGE, number))


def forget_the_draw(store: Store, number: int) -> None:
    """As if the gate had been killed before what it asks was kept."""
    for table in ("gates", "questions"):
        where = {"gate": "verification", "stage": STAGE, "round": number}
        store.replace_rows(table, table_of(table, []), **where)


def make_store(folder: Path, *, answered: int = 10, **labeling: Any) -> Store:
    """Two annotated rounds; the gate of the first has `answered` answers an image: whole masks good, others bad."""
    settings = {"verify_frac": 1.0, "images_per_chunk": 2, "verifier_precision": 0.9} | labeling
    store = make_workspace(folder, labeling=settings)
    ids = tuple(store.images()["image_id"].to_pylist())
    model = list_models(model_roots(store.workspace))[0].model_id
    for number in (1, 2):
        store.put_round(Round(STAGE, number, ids, "annotated", model_before=model))
    kinds = [solid, shattered] * (answered // 2)
    if kinds:
        rows = rows_of(store, 1, kinds)
        put_masks(store, 1, table_of(STAGE, rows))
        gate = verification_records(store, 1)
        gate.put_sample(GateSample(table_of(STAGE, rows)))
        choices = ["good", "bad"] * (len(rows) // 2)
        gate.put_answers(
            {row["mask_id"]: Answer(choice, "", None, "") for row, choice in zip(rows, choices, strict=True)}
        )
    masks = rows_of(store, 2, [solid, solid, solid])
    masks[0] = rows_of(store, 3, [shattered])[0] | {"round": 2}
    put_masks(store, 2, table_of(STAGE, masks))
    return store


def put_masks(store: Store, number: int, table: pa.Table) -> None:
    for shard in store.shards():
        rows = table.filter(pc.equal(table["shard"], shard))
        store.replace_shard(STAGE, shard, rows, round=number, key=f"{number:016x}")


def asked(server: FakeLabelStudio) -> list[int]:
    return [int(task["data"]["mask_id"]) for task in server.stored.values()]


def answer(server: FakeLabelStudio, number: int, choice: str) -> None:
    region = {"id": "c", "type": "choices", "from_name": "verdict", "to_name": "image", "value": {"choices": [choice]}}
    server.submit(number, region, at=f"2026-03-01T00:00:{number:02d}Z", lead_time=4.0)


def answer_rightly(server: FakeLabelStudio, store: Store) -> None:
    broken = {row["mask_id"] for row in store.read_rows(STAGE, round=2).to_pylist() if row["area"] < 140}
    for number, task in server.stored.items():
        if not task["annotations"]:
            answer(server, number, "bad" if int(task["data"]["mask_id"]) in broken else "good")


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
