"""Masks of another grid, kept picture by picture."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.places import place
from engine.store import Store
from schemas.errors import InputError
from schemas.rle import Rle
from stages import ablation_masks
from stages.ablation_masks import GeneratedMasks, generator_of, images_to_generate, make_masks
from tests.stages.workspaces import ALL_MASKS, make_workspace

ALL = ("assisted_manual", "semi_automatic", "fully_automatic")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(tmp_path / "work", through=ALL)


def test_the_generator_is_that_of_the_last_round(store: Store, tmp_path: Path) -> None:
    model, config = generator_of(store)
    assert model.model_id == store.rounds("fully_automatic")[-1].model_before
    assert config == store.files.settings().fully_automatic.generator_config()
    assert config.points_per_side == ALL_MASKS["points_per_side"]
    with pytest.raises(InputError, match=r"run fully_automatic .* --until-done, or leave points out of experiments"):
        generator_of(make_workspace(tmp_path / "early", through=ALL[:1]))


def test_pictures_that_are_held_out_get_no_masks_and_few_are_the_first_of_many(store: Store) -> None:
    index = store.image_index()
    free = set(index.ids[~index.held_out].tolist())
    version = store.versions()["images"]
    every = images_to_generate(store, version=version, most=100, seed=0)
    assert set(every) == free
    assert images_to_generate(store, version=version, most=2, seed=0) == every[:2]
    orders = {tuple(images_to_generate(store, version=version, most=100, seed=seed)) for seed in range(4)}
    assert len(orders) > 1


def test_masks_are_made_once_and_are_those_of_the_generator(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same settings as the stage's give the masks that are in its table."""
    model, config = generator_of(store)
    ids = images_to_generate(store, version=store.versions()["images"], most=2, seed=0)
    told: list[tuple[str, int, int]] = []

    def make(image_ids: list[int]) -> GeneratedMasks:
        folder = make_masks(
            store,
            image_ids,
            place(tmp_path / "out"),
            model,
            config,
            device="cpu",
            progress=lambda what, done, total, note="": told.append((what, done, total)),
        )
        return GeneratedMasks(store, sorted(image_ids), folder)

    assert len(make(ids[:1])) == 1
    assert told == [("masks of 3 points a side", 1, 1)]
    found = make(ids)
    assert told[1:] == [("masks of 3 points a side", 1, 1)]  # the second picture alone
    assert found.image_ids == sorted(ids)
    table = store.read_table("fully_automatic").to_pylist()
    for at, image_id in enumerate(found.image_ids):
        sample = found[at]
        assert np.array_equal(sample.image, store.load_image(image_id))
        kept = {Rle.of_coco(mask) for mask in sample.masks}
        assert kept == {Rle.of_row(row) for row in table if row["image_id"] == image_id}
    assert found.mask_count == sum(len(found[at].masks) for at in range(2))
    monkeypatch.setattr(ablation_masks, "load_model", lambda *_, **__: pytest.fail("made again"))
    again = pickle.loads(pickle.dumps(make(ids)))
    assert again[0].masks == found[0].masks


def test_pictures_without_masks_and_those_that_cannot_be_read_are_left_out(store: Store, tmp_path: Path) -> None:
    model, config = generator_of(store)
    ids = images_to_generate(store, version=store.versions()["images"], most=3, seed=0)
    store.picture(store.read_image("images", ids[0]).to_pylist()[0]).remove()
    notes: list[str] = []
    folder = make_masks(
        store,
        ids,
        place(tmp_path / "out"),
        model,
        config,
        device="cpu",
        progress=lambda what, done, total, note="": notes.append(note),
    )
    assert notes[0].startswith(f"image {ids[0]} left out: ")
    assert notes[1:] == ["", ""]
    (folder / f"{ids[1]}.json").write(b"[]")
    found = GeneratedMasks(store, ids, folder)
    assert found.image_ids == [ids[2]]
    found.longest_px = 8
    assert all(rle_codec.area(Rle.of_coco(mask)) > 0 for mask in found[0].masks)
