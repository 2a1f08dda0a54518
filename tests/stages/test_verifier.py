"""The verifier at the verification gate, over a stand-in for Label Studio: who is asked what, and that nothing is lost
or asked twice wherever a run is killed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from engine import rle as rle_codec
from engine.keys import content_key
from engine.labeling import tool
from engine.labeling.folder import Scope
from engine.quality.gate_records import Answer, GateRecords
from engine.quality.gate_sample import GateSample
from engine.store import Store
from model.mask_features import mask_features
from model.predictor import Predictor
from model.registry import list_models, model_roots
from model.storage import load_model
from schemas.config import Stage
from schemas.errors import InputError, WaitError
from schemas.rle import Rle
from schemas.tables import Round, table_of
from stages import verifier
from stages.quality import move_gate
from stages.sure_threshold import SureFrom
from stages.verifier import RoundVerifier
from stages.verifier_thresholds import VerifierThresholds
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace

STAGE: Stage = "assisted_manual"


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


def of_round(store: Store, number: int = 2, *, stage: Stage = STAGE, told: list[Any] | None = None) -> RoundVerifier:
    """The verifier at the gate of a round."""

    def progress(what: str, done: int, total: int, note: str = "") -> None:
        if told is not None:
            told.append((what, done, total))

    return RoundVerifier(store, store.files.settings(), Round(stage, number, ()), progress)


def with_answers(made: RoundVerifier, *, good: int, bad: int, scores: Sequence[float] = ()) -> RoundVerifier:
    """As if earlier gates had given these answers and a verifier gave these scores: sure from .8 on, and up to .1."""
    answered = verifier._Answered("verification-x-1", GateSample(pa.table({})), [], [True] * good + [False] * bad)
    sure = VerifierThresholds(SureFrom(0.8, 40, 40), SureFrom(0.9, 30, 29))
    made.__dict__ |= {
        "_answered": [answered],
        "_trained": lambda precision: verifier.TrainedVerifier(lambda _: torch.tensor(scores), sure, {}),  # type: ignore[arg-type]
        "_features": lambda gate, sample: torch.zeros(len(sample.mask_ids), 1),
        "key": lambda precision: "0123456789abcdef",
    }
    return made


@pytest.mark.parametrize(
    ("good", "bad", "few"), [(190, 10, False), (10, 190, False), (189, 10, True), (9, 300, True), (300, 9, True)]
)
def test_it_learns_from_two_hundred_answers_ten_of_each_kind(tmp_path: Path, good: int, bad: int, few: bool) -> None:
    store = make_store(tmp_path, answered=0)
    masks = store.read_rows(STAGE, round=2).slice(0, 3)
    sample = with_answers(of_round(store), good=good, bad=bad, scores=[0.9, 0.5, 0.05]).sample(masks)
    assert sample.masks is masks
    assert (sample.verifier["stated_precision"], sample.verifier["learnt_from"]) == (0.9, good + bad)
    if few:
        assert sample.verifier["reason"] == (
            f"earlier gates gave {good + bad} answers, {good} of them good; "
            "the verifier learns from 200, 10 of each kind"
        )
        assert (sample.pre_answers, sample.audited) == ({}, frozenset())
    else:
        assert sample.pre_answers == dict(zip(sample.mask_ids[::2], ("good", "bad"), strict=True))
        assert "reason" not in sample.verifier


def test_it_answers_what_it_is_sure_about_and_a_tenth_of_each_answer_is_audited(tmp_path: Path) -> None:
    """Of 20 good ones the first two of the draw, of 4 bad ones the first."""
    store = make_store(tmp_path, answered=0)
    masks = store.read_rows(STAGE, round=2)
    masks = pa.concat_tables([masks, masks.set_column(0, masks.schema.field(0), [pc.add(masks["mask_id"], 1)])])
    scores = [0.05, 0.5, 0.79, 0.8] + [0.09] * 3 + [0.95] * 19 + [0.11] * 10
    made = with_answers(of_round(store), good=250, bad=50, scores=scores)
    sample = made.sample(masks)
    ids = sample.mask_ids
    assert len(ids) == len(scores) == 36
    expected = {0: "bad", 3: "good", 4: "bad", 5: "bad", 6: "bad"} | dict.fromkeys(range(7, 26), "good")
    assert sample.pre_answers == {ids[place]: verdict for place, verdict in expected.items()}
    assert sample.audited == {ids[0], ids[3], ids[7]}
    assert sample.verifier == {
        "stated_precision": 0.9,
        "learnt_from": 300,
        "id": "verifier:0123456789abcdef",
        "out_of_fold": {
            "good": {"threshold": 0.8, "masks": 40, "right": 40},
            "bad": {"threshold": 0.9, "masks": 30, "right": 29},
        },
    }


def test_a_verifier_that_is_nowhere_sure_answers_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path, answered=0)
    made = with_answers(of_round(store), good=250, bad=50)
    nowhere, somewhere = SureFrom(None, 0, 0), SureFrom(0.9, 30, 29)
    thresholds = VerifierThresholds(nowhere, nowhere)
    made.__dict__["_trained"] = lambda _: verifier.TrainedVerifier(None, thresholds, {})  # type: ignore[arg-type]
    masks = store.read_rows(STAGE, round=2).slice(0, 2)
    sample = made.sample(masks)
    assert (sample.masks, sample.pre_answers, sample.audited) == (masks, {}, frozenset())
    assert sample.verifier["reason"] == (
        "on 300 answers of earlier gates the verifier is nowhere sure with precision 0.9"
    )
    assert sample.verifier["out_of_fold"] == thresholds.to_dict()
    one_side = VerifierThresholds(nowhere, somewhere)
    made.__dict__["_trained"] = lambda _: verifier.TrainedVerifier(
        lambda _: torch.tensor([0.05, 0.9]),  # type: ignore[arg-type]
        one_side,
        {},
    )
    assert made.sample(masks).pre_answers == {sample.mask_ids[0]: "bad"}


def test_without_masks_or_a_stated_precision_there_is_no_verifier(tmp_path: Path) -> None:
    store = make_store(tmp_path, answered=10)
    nothing = store.read_rows(STAGE, round=9)
    assert of_round(store).sample(nothing) == GateSample(nothing)


def test_it_learns_from_earlier_gates_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path, answered=0)
    rounds: list[tuple[Stage, int]] = [("semi_automatic", 1), (STAGE, 3), (STAGE, 1), (STAGE, 2), ("semi_automatic", 2)]
    masks = store.read_rows(STAGE, round=2, shard="000000").sort_by("mask_id").slice(0, 3)
    first, second, third = masks["mask_id"].to_pylist()
    for stage, number in rounds:
        store.put_round(Round(stage, number, (), "annotated"))
        rows = [row | {"stage": stage, "round": number} for row in masks.to_pylist()]
        store.replace_shard(stage, "000000", table_of(stage, rows), round=number, key="0" * 16)
        gate = GateRecords(store, Scope("verification", stage, number))
        gate.put_sample(GateSample(masks))
        if (stage, number) != (STAGE, 2):
            gate.put_answers({third: Answer("good", "", None, ""), first: Answer("reject", "", None, "")})

    def gates(stage: Stage, number: int) -> list[str]:
        return [each.gate for each in of_round(store, number, stage=stage)._answered]

    assert gates(STAGE, 1) == []
    assert gates(STAGE, 2) == [f"verification-{STAGE}-1"]
    assert gates(STAGE, 3) == [f"verification-{STAGE}-1"], "nobody answered at the second"
    both = [f"verification-{STAGE}-{number}" for number in (1, 3)]
    assert gates("semi_automatic", 1) == both
    assert gates("semi_automatic", 2) == [*both, "verification-semi_automatic-1"]
    (answered,) = of_round(store, 2)._answered
    assert (answered.which, answered.good) == ([0, 2], [False, True])
    images = masks["image_id"].to_pylist()
    assert answered.image_ids == [images[0], images[2]]
    assert answered.sample.mask_ids == [first, second, third]


def test_equal_answers_give_an_equal_verifier(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    key = of_round(store).key(0.9)
    assert of_round(store).key(0.9) == of_round(store, 3).key(0.9) == key
    (answered,) = of_round(store)._answered
    given = (f"verification-{STAGE}-1", answered.sample.mask_ids, answered.which, answered.good)
    model_id = list_models(model_roots(store.workspace))[0].model_id
    assert key == content_key(1, model_id, [given], 0.9, 0), "one that was kept before is found again"
    keys = {key, of_round(store).key(0.8)}
    other = of_round(store)
    other.__dict__["_model_id"] = "another"
    keys.add(other.key(0.9))
    seeded = RoundVerifier(store, store.files.settings().model_copy(update={"seed": 7}), Round(STAGE, 2, ()))
    keys.add(seeded.key(0.9))
    gate = verification_records(store, 1)
    gate.put_answers({next(iter(gate.verdicts())): Answer("reject", "", None, "")})
    keys.add(of_round(store).key(0.9))
    assert len(keys) == 5


def test_features_come_in_the_order_of_the_sample_and_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told = make_store(tmp_path, answered=0), []
    rows = store.read_rows(STAGE, round=2).to_pylist()
    first = rows[0]["image_id"]
    of_first, others = ([row for row in rows if (row["image_id"] == first) == same] for same in (True, False))
    mixed = [others[0], of_first[0], others[1], of_first[1], of_first[2]]
    sample = GateSample(table_of(STAGE, mixed))
    made = of_round(store, told=told)
    found = made._features("gate", sample)
    images = len({row["image_id"] for row in mixed})
    assert told == [("verifier: look at masks", done, images) for done in range(1, images + 1)]
    predictor = Predictor(load_model("tiny", model_roots(store.workspace))[0])
    for row, features in zip(mixed, found, strict=True):
        predictor.set_image(store.load_image(row["image_id"]))
        mask = rle_codec.decode(Rle.of_row(row))
        alone = mask_features(predictor, [mask], [row["predicted_iou"]], [row["stability_score"]])
        torch.testing.assert_close(features, alone[0], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(verifier, "load_model", None)
    assert torch.equal(of_round(store)._features("gate", sample), found)
    (file,) = (store.workspace / "labeling" / "features").iterdir()
    assert file.name.startswith("gate-")
    file.write_bytes(b"{")
    with pytest.raises(InputError, match=r"features.*: damaged .*; delete it, it is then made anew"):
        of_round(store)._features("gate", sample)


def test_the_card_says_what_a_verifier_learned_from(
    server: FakeLabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, given = make_store(tmp_path), {}
    scores_of = verifier.out_of_fold_scores

    def scores(features: torch.Tensor, good: torch.Tensor, image_ids: np.ndarray, *, seed: int) -> torch.Tensor:
        given.update(good=good, image_ids=image_ids, seed=seed)
        return scores_of(features, good, image_ids, seed=seed)

    monkeypatch.setattr(verifier, "out_of_fold_scores", scores)
    trained = of_round(store)._trained(0.9)
    (answered,) = of_round(store)._answered
    assert given["good"].tolist() == answered.good
    assert given["image_ids"].tolist() == answered.image_ids
    assert given["seed"] == 0
    card = dict(trained.card)
    expected = {
        "model_id": list_models(model_roots(store.workspace))[0].model_id,
        "gates": [f"verification-{STAGE}-1"],
        "answers": 60,
        "good": 30,
        "images": 6,
        "stated_precision": 0.9,
        "thresholds": trained.thresholds.to_dict(),
    }
    assert {name: card[name] for name in expected} == expected
    assert trained.thresholds.good.masks > 0


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


def damage(store: Store, count: int) -> list[int]:
    """Cut off pictures; returns their ids."""
    rows = store.images().sort_by("image_id").to_pylist()[:count]
    for row in rows:
        path = store.workspace / row["path"]
        path.write_bytes(path.read_bytes()[:60])
    return [row["image_id"] for row in rows]


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
    assert "; 1 pictures cannot be read" in first.message
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
