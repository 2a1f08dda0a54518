"""Pictures of a release go back to annotators by the mechanism that the gates use."""

from dataclasses import replace

import pytest

from engine.quality.returned import masks_shown_again, returned_images, waiting
from engine.release.build import build_release
from engine.release.explorer.sending import Sent, send_to_annotators
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from schemas.stages import Stage
from schemas.tables import Round

BOTH: list[tuple[str, int]] = [("fully_automatic", 1), ("assisted_manual", 1)]


def rounds(store: Store) -> tuple[Round, Round]:
    """The rounds that the masks of both stages are of."""
    stages: tuple[Stage, Stage] = ("assisted_manual", "fully_automatic")
    ids = tuple(store.images()["image_id"].to_pylist())
    first, second = (Round(stage=stage, round=1, image_ids=ids, state="retrained") for stage in stages)
    store.put_round(first)
    store.put_round(second)
    return first, second


def masks_of(store: Store, table: str, image_id: int) -> set[int]:
    return set(store.read_rows(table, image_id=image_id)["mask_id"].to_pylist())


def test_the_masks_of_the_latest_round_are_shown_again(store: Store) -> None:
    done = rounds(store)
    image_id, other, *_ = done[0].image_ids
    before = {table: masks_of(store, table, image_id) for table in ("assisted_manual", "fully_automatic")}
    assert send_to_annotators(store, {image_id: BOTH, other: BOTH[1:]}) == Sent(2, 0)
    back = {image.image_id: image for image in waiting(returned_images(store), done)}
    assert {number: image.stage for number, image in back.items()} == {
        image_id: "fully_automatic",
        other: "assisted_manual",
    }
    assert {row["mask_id"] for row in masks_shown_again(store, back[image_id])} == before["fully_automatic"]
    assert masks_of(store, "fully_automatic", image_id) == set()
    assert masks_of(store, "assisted_manual", image_id) == before["assisted_manual"]


def test_sending_twice_is_sending_once(store: Store) -> None:
    rounds(store)
    image_id = store.images()["image_id"][0].as_py()
    send_to_annotators(store, {image_id: BOTH})
    versions = store.versions()
    assert send_to_annotators(store, {image_id: BOTH}) == Sent(0, 1)
    assert store.versions() == versions


def test_nothing_is_changed_where_one_cannot_be_sent(store: Store) -> None:
    first, second = rounds(store)
    image_id, other, *_ = first.image_ids
    versions = store.versions()
    with pytest.raises(InputError, match="no image 3;"):
        send_to_annotators(store, {image_id: BOTH, 3: BOTH})
    with pytest.raises(InputError, match="has no round 7 of fully_automatic; name the workspace"):
        send_to_annotators(store, {image_id: BOTH, other: [("fully_automatic", 7)]})
    assert store.versions() == versions
    store.put_round(replace(second, state="open"))
    versions = store.versions()
    with pytest.raises(InputError, match="fully_automatic round 1 is still open; finish it with: sam-engine run"):
        send_to_annotators(store, {other: BOTH[1:], image_id: BOTH})
    assert store.versions() == versions


def test_the_next_release_is_without_them_and_this_one_stays(store: Store) -> None:
    rounds(store)
    config = ReleaseConfig(blur=False)
    before = build_release(store, config=config, name="before")
    image_id = store.images()["image_id"][0].as_py()
    send_to_annotators(store, {image_id: BOTH})
    after = build_release(store, config=config, name="after")
    assert after.manifest.images == before.manifest.images - 1
