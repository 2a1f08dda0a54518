"""What the verifier learns from, and what it is sure about."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from engine import rle as rle_codec
from engine.keys import content_key
from engine.labeling.folder import Scope
from engine.quality.gate_records import Answer, GateRecords
from engine.quality.gate_sample import GateSample
from model.mask_features import mask_features
from model.predictor import Predictor
from model.registry import list_models, model_roots
from model.storage import load_model
from schemas.config import Stage
from schemas.errors import InputError
from schemas.rle import Rle
from schemas.tables import Round, table_of
from stages import verifier
from stages.sure_threshold import SureFrom
from stages.verifier import RoundVerifier
from stages.verifier_thresholds import VerifierThresholds
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.stages.verifiers_at_work import STAGE, make_store, of_round, stand_in, verification_records, with_answers


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    return stand_in(monkeypatch)


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
