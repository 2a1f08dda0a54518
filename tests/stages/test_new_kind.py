"""Whether a workspace shows pictures of a kind that its start model does not know."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.known_pictures import KNOWN_PICTURES_FILE, describe_pictures, write_known_pictures
from engine.store import Store
from model.registry import model_roots
from model.sam import Sam
from model.storage import load_model
from stages.new_kind import DESCRIBED, described_ids, find_new_kind
from tests.stages.workspaces import make_workspace, shapes


def start_of(store: Store) -> tuple[Sam, Path]:
    """The start model of a workspace, and the place of the file beside it."""
    sam, info = load_model("tiny", model_roots(store.workspace))
    return sam, info.folder / KNOWN_PICTURES_FILE


def found_in(store: Store, told: list[Any] | None = None) -> Any:
    sam, file = start_of(store)

    def progress(what: str, done: int, total: int, note: str = "") -> None:
        if told is not None:
            told.append((what, done, total))

    ids = described_ids(store, frozenset(), seed=0)
    return find_new_kind(store, sam, file, ids, "manual round 1", progress)


def knows(store: Store, pictures: list[np.ndarray]) -> torch.Tensor:
    sam, file = start_of(store)
    described = describe_pictures(sam, pictures)
    write_known_pictures(described, sam, file)
    return described


def bright(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(180, 256, (48, 56, 3), dtype=np.uint8)


def test_pictures_unlike_those_that_the_model_knows_are_new(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=8, holdout=1)
    known = knows(store, [bright(seed) for seed in range(40)])
    told: list[Any] = []
    found = found_in(store, told)
    assert found is not None
    sam, _ = start_of(store)
    here = describe_pictures(sam, [shapes(seed)[0] for seed in range(100, 110)])
    assert bool(found.recogniser(here).all())
    assert not bool(found.recogniser(describe_pictures(sam, [bright(seed) for seed in range(50, 60)])).any())
    assert torch.equal(found.descriptions[:40], known)
    assert len(found.descriptions) == 40 + 7
    assert told[-1] == ("manual round 1, describing pictures", 7, 7)


def test_pictures_like_those_that_it_knows_are_not(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=16)
    knows(store, [shapes(seed)[0] for seed in range(200, 260)])
    assert found_in(store) is None


def test_a_file_of_another_image_encoder_says_nothing(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=4)
    sam, file = start_of(store)
    with torch.no_grad():
        next(sam.image_encoder.parameters()).add_(1)
    write_known_pictures(torch.randn(9, 256), sam, file)
    assert found_in(store) is None


def test_a_picture_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=8)
    knows(store, [bright(seed) for seed in range(40)])
    image_ids = described_ids(store, frozenset(), seed=0)
    store.picture(store.read_image("images", image_ids[0]).to_pylist()[0]).remove()
    assert len(found_in(store).descriptions) == 40 + len(image_ids) - 1


def test_nothing_is_taken_of_what_is_measured(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=6, holdout=2)
    rows = store.images().to_pylist()
    train = sorted(row["image_id"] for row in rows if row["split"] == "train")
    assert described_ids(store, frozenset(), seed=0) == train
    assert described_ids(store, frozenset(train[:1]), seed=0) == train[1:]


def test_of_many_pictures_some_are_taken_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DESCRIBED == 100
    monkeypatch.setattr("stages.new_kind.DESCRIBED", 3)
    store = make_workspace(tmp_path, images=8)
    drawn = [described_ids(store, frozenset(), seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert {len(ids) for ids in drawn} == {3}
    assert len({tuple(ids) for ids in drawn}) > 1
