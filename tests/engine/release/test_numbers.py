"""Numbers of pictures and masks: counted on over shards, kept, and none given twice when a run was cut off."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.release.numbers import Numbering, NumberReader
from engine.release.plan import Snapshot, plan_tars
from engine.store import Store
from tests.engine.release.conftest import SIZES, add_masks


def give_numbers(store: Store) -> None:
    plan_tars(Snapshot.take(store, ["fully_automatic"]), images_per_tar=3, number=Numbering(store))


def all_numbers(store: Store) -> dict[str, list[int]]:
    return {table: store.read_table(table)["number"].to_pylist() for table in ("image_numbers", "mask_numbers")}


def test_a_second_time_gives_nothing_new(store: Store) -> None:
    give_numbers(store)
    first = store.versions()
    give_numbers(store)
    assert store.versions() == first


def test_images_without_masks_have_none(make_store: Callable[..., Store]) -> None:
    store = make_store("workspace", template="bare")
    add_masks(store, "fully_automatic", skip=1)
    give_numbers(store)
    assert sorted(all_numbers(store)["image_numbers"]) == [1, 2, 3, 4]
    assert NumberReader(store)(store.shards()[-1]) == ({}, {})


@pytest.mark.parametrize("commits", range(6))
def test_a_run_that_was_cut_off_is_gone_on_with(
    store: Store, make_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    whole = make_store("whole")
    give_numbers(whole)
    commit, done = store.replace_shard, 0

    def cut_off(*arguments: Any, **named: Any) -> bool:
        nonlocal done
        if done == commits:
            raise KeyboardInterrupt
        done += 1
        return commit(*arguments, **named)

    monkeypatch.setattr(store, "replace_shard", cut_off)
    with pytest.raises(KeyboardInterrupt):
        give_numbers(store)
    monkeypatch.undo()
    give_numbers(store)
    for shard in store.shards():
        assert NumberReader(store)(shard) == NumberReader(whole)(shard)
    assert sorted(all_numbers(store)["image_numbers"]) == list(range(1, len(SIZES) + 1))


def test_a_mask_is_found_by_its_number(store: Store) -> None:
    give_numbers(store)
    for content_id, number in list(NumberReader(store)(store.shards()[1]).masks.items())[:3]:
        found = store.find_mask(number)
        assert found is not None
        assert found["mask_id"] == content_id
