"""A retraining on pictures of a kind that the start model does not know: it is kept inside; the training is a
stand-in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.evaluation.model_scores import ModelScores
from engine.known_pictures import KNOWN_PICTURES_FILE, describe_pictures, read_known_pictures, write_known_pictures
from engine.replay import WithReplay, read_replay
from engine.store import Store
from model.predictor import Predictor
from model.registry import list_models, model_roots
from model.remembering import RememberingSam, newest
from model.sam import Sam
from model.storage import load_model
from schemas.tables import Round
from stages import retraining
from stages.model_choice import SHARES, SHARES_OF_NEW_KIND
from tests.stages.stand_in_training import Training, annotated, made_here, retrained, scores, token
from tests.stages.workspaces import shapes, write_pictures


def bright(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(180, 256, (48, 56, 3), dtype=np.uint8)


def knows_bright_pictures(store: Store) -> Path:
    """The start model was trained on pictures unlike those of the workspace."""
    sam, info = load_model("tiny", model_roots(store.workspace))
    described = describe_pictures(sam, [bright(seed) for seed in range(40)])
    write_known_pictures(described, sam, info.folder / KNOWN_PICTURES_FILE)
    return info.folder / KNOWN_PICTURES_FILE


def new_kind(folder: Path, *, measured: bool = True, **settings: Any) -> tuple[Store, Round]:
    """measured: whether a picture is held out."""
    store, record = annotated(folder, images=8 if measured else 4, holdout=int(measured), **settings)
    knows_bright_pictures(store)
    return store, record


def loaded(store: Store, model_id: str) -> Sam:
    return load_model(model_id, model_roots(store.workspace))[0]


def clicked(sam: Sam, image: np.ndarray) -> torch.Tensor:
    predictor = Predictor(sam)
    predictor.set_image(image)
    return predictor.predict_low_res([[[20.0, 20.0]]], [[1]]).logits


def test_it_learns_all_the_way_and_keeps_the_start_model_for_what_that_knows(
    tmp_path: Path, training: Training
) -> None:
    store, record = new_kind(tmp_path, measured=False)
    told: list[Any] = []
    found = retrained(store, record, told)
    made, start = loaded(store, found.model_id), loaded(store, record.model_before)
    assert isinstance(made, RememberingSam)
    assert found.metrics.new_kind
    assert found.metrics.share == SHARES_OF_NEW_KIND[0] == 1.0
    assert token(store, found.model_id) == pytest.approx(1.0)
    assert torch.equal(clicked(made, bright(7)), clicked(start, bright(7))), "one of those that it knows"
    here = shapes(500)[0]
    assert torch.equal(clicked(made, here), clicked(newest(made), here))
    assert not torch.equal(clicked(made, here), clicked(start, here))
    assert training.config.min_mask_frac == made_here(store).card.training["min_mask_frac"] == 6e-5
    assert any(what == "assisted_manual round 1, describing pictures" for what, *_ in told)


def test_the_card_and_the_key_say_so(tmp_path: Path, training: Training) -> None:
    store, record = new_kind(tmp_path)
    found = retrained(store, record)
    lineage = made_here(store).card.trained_on
    assert lineage["known_pictures"]
    assert lineage["described"]
    assert retrained(store, record) == found, "it is found again"


def test_the_next_round_goes_on_with_what_was_learned(tmp_path: Path, training: Training) -> None:
    store, record = new_kind(tmp_path)
    first = retrained(store, record)
    store.put_round(replace(record, state="retrained", model_after=first.model_id))
    second = replace(record, round=2, model_before=first.model_id)
    store.put_round(second)
    found = retrained(store, second)
    assert type(training.sam) is Sam
    made = loaded(store, found.model_id)
    assert isinstance(made, RememberingSam)
    assert type(made.remembered) is Sam, "the start model, not the model of the round before"
    inner, start = made.remembered.state_dict(), loaded(store, record.model_before).state_dict()
    assert all(torch.equal(value, inner[name]) for name, value in start.items())


def test_another_workspace_may_begin_with_it(tmp_path: Path, training: Training) -> None:
    """What it learned is known there."""
    store, record = new_kind(tmp_path)
    found = retrained(store, record)
    (info,) = (model for model in list_models([store.workspace / "models"]) if model.model_id == found.model_id)
    made = loaded(store, found.model_id)
    known = read_known_pictures(info.folder / KNOWN_PICTURES_FILE, made)
    assert known is not None
    described = [store.load_image(image_id) for image_id in record.image_ids]
    assert torch.equal(known[40:].sort(0).values, describe_pictures(made, described).sort(0).values)


def test_nothing_is_replayed_that_the_model_keeps_inside(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These are taken for new ones, since they look like those of the workspace."""
    store, record = new_kind(tmp_path, replay=str(tmp_path / "old" / "masks.json"))
    write_pictures(tmp_path / "old", images=3, first_seed=90)
    measured: list[Sam] = []

    def score_model(predictor: Any, samples: Any) -> ModelScores:
        assert len(list(samples)) == 3
        measured.append(predictor.sam)
        return scores([0.5] * 9)

    monkeypatch.setattr(retraining, "score_model", score_model)
    found = retrained(store, record)
    assert not isinstance(training.source, WithReplay)
    assert found.metrics.score("old_miou").after == 0.5, "but measured"
    assert [isinstance(sam, RememberingSam) for sam in measured][:2] == [False, True]


def test_nothing_is_measured_twice_that_the_model_inside_answers(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replayed pictures are known ones: what they score after is what they scored before."""
    replayed = write_pictures(tmp_path / "old", images=3, first_seed=90)
    for seed, path in enumerate(sorted((tmp_path / "old").rglob("*.png"))):
        height, width = np.asarray(Image.open(path)).shape[:2]
        Image.fromarray(np.random.default_rng(seed).integers(180, 256, (height, width, 3), dtype=np.uint8)).save(path)
    store, record = new_kind(tmp_path, measured=False, replay=str(replayed))
    scored: list[Sam] = []
    real = retraining.score_model

    def score_model(predictor: Any, samples: Any) -> Any:
        scored.append(predictor.sam)
        return real(predictor, samples)

    monkeypatch.setattr(retraining, "score_model", score_model)
    found = retrained(store, record)
    assert len(scored) == 1
    made, start = loaded(store, found.model_id), loaded(store, record.model_before)
    old = found.metrics.score("old_miou")
    assert old.before == old.after
    samples = [read_replay(replayed)[index] for index in range(3)]
    scores_of = [real(Predictor(sam), samples).means() for sam in (start, made)]
    assert scores_of[0] == scores_of[1], "and they truly do"
    assert scores_of[1]["miou"] == old.after


def test_it_goes_less_far_where_old_pictures_are_taken_for_new_ones(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = new_kind(tmp_path, measured=False, replay=str(tmp_path / "old" / "masks.json"))
    write_pictures(tmp_path / "old", images=3, first_seed=90)
    given = iter([0.5, 0.48, 0.495])
    monkeypatch.setattr(retraining, "score_model", lambda *_: scores([next(given)] * 9))
    assert retrained(store, record).metrics.share == SHARES_OF_NEW_KIND[1]


@pytest.mark.parametrize("settings", [{"remember": False}, {"averaging": False}])
def test_it_may_be_asked_for_otherwise(tmp_path: Path, training: Training, settings: dict[str, Any]) -> None:
    store, record = new_kind(tmp_path, measured=False, **settings)
    found = retrained(store, record)
    assert isinstance(loaded(store, found.model_id), RememberingSam) == ("averaging" in settings)
    assert found.metrics.share == (1.0 if "averaging" in settings else SHARES[0])
    assert bool(made_here(store).card.trained_on["known_pictures"]) == ("averaging" in settings)


def test_pictures_that_the_start_model_knows_are_learned_as_before(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path, images=16, holdout=0)
    sam, info = load_model("tiny", model_roots(store.workspace))
    described = describe_pictures(sam, [shapes(seed)[0] for seed in range(200, 260)])
    write_known_pictures(described, sam, info.folder / KNOWN_PICTURES_FILE)
    found = retrained(store, record)
    assert type(loaded(store, found.model_id)) is Sam
    assert not found.metrics.new_kind
    assert found.metrics.share == SHARES[0]
