"""What a model is measured on: held-out ground truth, else images that people annotated and training leaves out."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.snapshots import training_samples
from engine.store import Store
from model.predictor import Predictor
from model.training.samples import Sample
from schemas.tables import Round
from stages.measuring import MEASURED_MASKS, held_out_truth, measuring_set, set_aside
from stages.rounds import tick
from tests.stages.workspaces import make_workspace, tiny_sam


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """24 images, of which people annotated the 12 of the first round; none is held out."""
    store = make_workspace(tmp_path_factory.mktemp("annotated"), images=24, holdout=0, assisted_manual={"rounds": 1})
    while tick(store, "assisted_manual").action != "annotate":
        pass
    return store


def test_held_out_ground_truth_comes_first(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=6, holdout=2)
    found = measuring_set(store, frozenset(), seed=0)
    assert found is not None
    assert found.measured_on == "holdout"
    held_out = {row["image_id"] for row in store.images().to_pylist() if row["split"] == "holdout"}
    assert set(found.masks) == held_out
    assert found.count == 2 * 3
    rounds = [Round("assisted_manual", 1, tuple(store.images()["image_id"].to_pylist()), "annotated")]
    assert set_aside(store, rounds, seed=0) == frozenset()


def test_without_it_about_a_fifth_of_what_people_annotated_is_set_aside(annotated: Store) -> None:
    rounds = annotated.rounds()
    sizes = [len(set_aside(annotated, rounds, seed=seed)) for seed in range(40)]
    assert 0.1 < sum(sizes) / (40 * 12) < 0.3
    assert set_aside(annotated, rounds, seed=3) == set_aside(annotated, rounds, seed=3)
    (record,) = rounds
    assert set_aside(annotated, [replace(record, state="open")], seed=3) == frozenset()
    assert set_aside(annotated, [replace(record, image_ids=record.image_ids[:4])], seed=3) == frozenset()


def test_an_image_that_was_set_aside_stays_so_when_more_come(annotated: Store) -> None:
    (record,) = annotated.rounds()
    for seed in range(10):
        fewer = set_aside(annotated, [replace(record, image_ids=record.image_ids[:7])], seed=seed)
        assert fewer == set_aside(annotated, [record], seed=seed) & set(record.image_ids[:7])


def test_what_was_learned_from_before_is_never_set_aside(annotated: Store) -> None:
    """A first round of three images is too small to set one aside: its model has learned from all three."""
    (record,) = annotated.rounds()
    first = replace(record, image_ids=record.image_ids[:3])
    second = replace(record, round=2, image_ids=record.image_ids[3:])
    both = [set_aside(annotated, [first, second], seed=seed) for seed in range(20)]
    assert any(both)
    assert not any(aside & set(first.image_ids) for aside in both)
    again = replace(record, round=3, image_ids=record.image_ids[:3])
    assert [set_aside(annotated, [first, second, again], seed=seed) for seed in range(20)] == both


def test_training_never_sees_what_was_set_aside(annotated: Store) -> None:
    seed = next(seed for seed in range(20) if set_aside(annotated, annotated.rounds(), seed=seed))
    aside = set_aside(annotated, annotated.rounds(), seed=seed)
    measured = measuring_set(annotated, aside, seed=seed)
    assert measured is not None
    assert measured.measured_on == "set_aside"
    assert set(measured.masks) <= aside
    versions = annotated.versions()
    samples = training_samples(annotated, tables_versions=versions, selection="accumulated", without=aside)
    assert not set(samples.image_ids) & aside
    assert len(samples) == 12 - len(aside)


def test_the_key_follows_from_the_masks_alone(annotated: Store) -> None:
    ids = annotated.rounds()[0].image_ids
    first = measuring_set(annotated, frozenset(ids[:2]), seed=0)
    again = measuring_set(annotated, frozenset(ids[:2]), seed=0)
    other = measuring_set(annotated, frozenset(ids[:3]), seed=0)
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.key == again.key != other.key
    assert measuring_set(annotated, frozenset(), seed=0) is None


def test_no_more_masks_are_measured_than_tell_a_mean(tmp_path: Path) -> None:
    images = MEASURED_MASKS // 3 + 10
    store = make_workspace(tmp_path, images=images, holdout=images)
    found = measuring_set(store, frozenset(), seed=0)
    assert found is not None
    assert found.count == MEASURED_MASKS


def test_an_image_may_be_set_aside_from_the_fifth_annotated_one_on(annotated: Store) -> None:
    (record,) = annotated.rounds()
    of_five = [set_aside(annotated, [replace(record, image_ids=record.image_ids[:5])], seed=seed) for seed in range(20)]
    assert any(of_five)
    assert set().union(*of_five) <= set(record.image_ids[:5])
    one_more = replace(record, round=2, image_ids=record.image_ids[4:5])
    four = replace(record, image_ids=record.image_ids[:4])
    assert any(set_aside(annotated, [four, one_more], seed=seed) for seed in range(20))


def test_of_many_images_and_masks_a_seeded_choice_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.measuring.MEASURED_IMAGES", 4)
    store = make_workspace(tmp_path, images=6, holdout=6)
    ids = np.sort(store.images()["image_id"].to_numpy())
    rng = np.random.default_rng((3, 1))
    images = set(rng.permutation(ids)[:4].tolist())
    numbers = set(rng.permutation(4 * 3)[:5].tolist())
    every = measuring_set(store, frozenset(), seed=3)
    assert every is not None
    assert set(every.masks) == images
    assert every.count == 4 * 3
    monkeypatch.setattr("stages.measuring.MEASURED_MASKS", 5)
    some = measuring_set(store, frozenset(), seed=3)
    assert some is not None
    listed = [(image, mask) for image, of_image in every.masks.items() for mask in of_image]
    assert [(image, mask) for image, of_image in some.masks.items() for mask in of_image] == [
        each for number, each in enumerate(listed) if number in numbers
    ]
    truth = held_out_truth(store, images=2, seed=3)
    chosen = np.sort(np.random.default_rng((3, 2)).permutation(ids)[:2])
    assert list(truth) == chosen.tolist()
    assert [len(of_image) for of_image in truth.values()] == [3, 3]


def test_what_is_measured_is_told_picture_by_picture(annotated: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measuring_set(annotated, frozenset(annotated.rounds()[0].image_ids[:2]), seed=0)
    assert found is not None
    told: list[tuple[int, int]] = []
    seen: list[Sample] = []

    def score(predictor: Predictor, samples: Iterable[Sample]) -> str:
        assert predictor.sam is sam
        seen.extend(samples)
        return "scores"

    sam = tiny_sam()
    monkeypatch.setattr("stages.measuring.score_model", score)
    assert found.score(annotated, sam, lambda *done: told.append(done)) == "scores"
    assert told == [(1, 2), (2, 2)]
    for (image_id, masks), sample in zip(found.masks.items(), seen, strict=True):
        assert (sample.image == annotated.load_image(image_id)).all()
        assert sample.masks == masks
