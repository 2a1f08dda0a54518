"""The index of images beside the table it is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import image_index
from engine.delta import ShardedTable
from engine.image_index import EMPTY, ImageIndex, read_index
from engine.keys import content_key
from engine.places import place
from engine.store import Store
from engine.table_files import TableFiles
from schemas.image_ids import ImageIds
from schemas.tables import Round, table_of
from tests.templates import new_store


def put(store: Store, shard: str, *ids: int, split: str = "train", truth: bool = False) -> None:
    rows: list[dict[str, Any]] = [
        {
            "image_id": image_id,
            "shard": shard,
            "path": f"{image_id}.png",
            "source": "",
            "width": 4,
            "height": 4,
            "split": split,
            "has_ground_truth": truth,
            "country": "",
        }
        for image_id in ids
    ]
    store.replace_shard("images", shard, table_of("images", rows), key=content_key(shard, list(ids), split, truth))


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(image_index, "_FEWEST_TO_KEEP", 1)
    store = new_store(tmp_path / "w")
    put(store, "000000", 50, 10, 30)
    put(store, "000001", 40, 20, split="holdout", truth=True)
    return store


def as_dict(index: ImageIndex) -> dict[int, tuple[str, bool, bool]]:
    shards = np.repeat(index.shards, np.diff(index.starts))
    flags = zip(shards.tolist(), index.held_out.tolist(), index.has_ground_truth.tolist(), strict=True)
    return dict(zip(index.ids.tolist(), flags, strict=True))


def test_it_says_of_every_image_what_the_table_says(indexed: Store) -> None:
    index = indexed.image_index()
    assert index.ids.tolist() == indexed.images(["image_id"])["image_id"].to_pylist() == [10, 30, 50, 20, 40]
    assert as_dict(index)[30] == ("000000", False, False)
    assert as_dict(index)[20] == ("000001", True, True)
    assert index.ids[index.order].tolist() == [10, 20, 30, 40, 50]
    assert index.places(np.array([40, 11, 10, 99])).tolist() == [4, -1, 0, -1]
    assert index.of_shard("000001").tolist() == [20, 40]
    assert index.of_shard("000007").tolist() == []


def test_only_shards_that_changed_are_read_again(indexed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed.image_index()
    put(indexed, "000001", 20, 45)
    put(indexed, "000002", 35)
    again, each = Store(indexed.workspace), TableFiles.each
    asked: list[str] = []

    def told(self: TableFiles, columns: Sequence[str], shards: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        asked.extend(shards)
        return each(self, columns, shards)

    monkeypatch.setattr(TableFiles, "each", told)
    found = as_dict(again.image_index())
    assert asked == ["000001", "000002"]
    (indexed.workspace / "cache" / "images.arrow").unlink()
    assert found == as_dict(Store(indexed.workspace).image_index())
    assert found[45] == ("000001", False, False)
    assert 40 not in found


def test_a_shard_that_was_emptied_is_gone(indexed: Store) -> None:
    indexed.image_index()
    put(indexed, "000000")
    assert sorted(as_dict(indexed.image_index())) == [20, 40]


@pytest.mark.parametrize("content", [b"", b"no index", b"ARROW1\x00\x00" + b"\x00" * 100])
def test_a_damaged_cache_is_made_again(indexed: Store, content: bytes) -> None:
    expected = as_dict(indexed.image_index())
    file = indexed.workspace / "cache" / "images.arrow"
    whole = file.read_bytes()
    for damaged in (content, whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        assert read_index(indexed.files.cache / "images.arrow") is EMPTY
        assert as_dict(Store(indexed.workspace).image_index()) == expected
        assert file.read_bytes() == whole


def test_the_order_of_ids_is_kept_once_somebody_needs_it(indexed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = indexed.workspace / "cache" / "images.arrow.order"
    assert len(indexed.image_index()) == 5
    assert not file.exists(), "who asks by shard needs none"
    assert indexed.shard_of(40) == "000001"
    whole = file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(np, "argsort", None)
        assert Store(indexed.workspace).shard_of(30) == "000000", "it was not made again"
    for damaged in (b"", b"no order", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        assert Store(indexed.workspace).shard_of(40) == "000001"
        assert file.read_bytes() == whole
    put(indexed, "000002", 5)
    assert indexed.shard_of(5) == "000002"
    assert indexed.shard_of(40) == "000001"
    assert file.read_bytes() != whole, "it is of the files that there are now"


def test_where_nothing_can_be_kept_it_is_made_in_memory(indexed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (indexed.workspace / "cache").write_text("a file is in the way")
    assert sorted(as_dict(indexed.image_index())) == [10, 20, 30, 40, 50]


@given(st.data())
def test_places_of_ids_however_they_come(data: st.DataObject) -> None:
    shards = data.draw(st.lists(st.sets(st.integers(0, 60), max_size=12), max_size=5))
    met: set[int] = set()
    parts = []
    for number, some in enumerate(shards):
        own = sorted(some - met)
        met |= some
        parts.append((f"{number:06d}", own))
    ids = np.array([each for _, own in parts for each in own], dtype=np.int64)
    starts = np.cumsum([0, *(len(own) for _, own in parts)])
    flags = np.zeros(len(ids), dtype=np.uint8)
    index = ImageIndex({}, ids, flags, tuple(name for name, _ in parts), starts)
    asked = data.draw(st.lists(st.integers(0, 70), unique=True, max_size=30))
    there = ids.tolist()
    expected = [there.index(each) if each in there else -1 for each in asked]
    for few in (1000, 0):  # one by one, and sorted
        image_index._FEW_TO_FIND, before = few, image_index._FEW_TO_FIND
        assert index.places(np.array(asked, dtype=np.int64)).tolist() == expected
        image_index._FEW_TO_FIND = before
    runs = list(index.runs(np.array(asked, dtype=np.int64)))
    assert [each for run in runs for each in run.ids.tolist()] == asked
    stored = ImageIds.stored(len(asked), "", lambda: iter(runs))
    known = [place for place in expected if place >= 0]
    assert index.places_of(stored).tolist() == index.places_of(ImageIds(asked)).tolist() == known
    by_shard = {shard: [each for each in own if each in asked] for shard, own in parts}
    assert {shard: own.tolist() for shard, own in index.by_shard(asked).items()} == {
        shard: own for shard, own in by_shard.items() if own
    }
    free = [each for each in there if each not in asked]
    assert ids[index.without([stored])].tolist() == ids[index.without([ImageIds(asked)])].tolist() == free


def test_the_first_ids_that_are_wanted(indexed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_index, "_LOOKED_AT", 2)
    index = indexed.image_index()
    wanted = np.array([True, False, True, True, True])
    for count in range(-1, 7):
        assert index.first(wanted, count).tolist() == [10, 50, 20, 40][: max(0, count)]
    assert index.first(np.ones(5, dtype=bool), 5) is index.ids, "not a copy of them"
    assert index.first(np.ones(5, dtype=bool), 4).tolist() == [10, 30, 50, 20]
    assert index.not_held_out("000000").tolist() == [10, 30, 50]
    assert index.not_held_out("000001").tolist() == []


def test_files_are_listed_only_where_the_version_is_another(indexed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, (file, stamp) = as_dict(indexed.image_index()), (indexed.workspace / "cache" / "images.arrow", "")
    listed: list[str] = []
    files_at = ShardedTable.files_at
    monkeypatch.setattr(ShardedTable, "files_at", lambda self, *_: listed.append(self.uri) or files_at(self, *_))
    assert as_dict(Store(indexed.workspace).image_index()) == expected
    assert not listed
    read_index(place(file)).changed_to(indexed.files_at("images"))
    replace(read_index(place(file)), stamp=stamp).write(place(file))  # as those before it had one
    listed.clear()
    assert as_dict(Store(indexed.workspace).image_index()) == expected
    assert as_dict(Store(indexed.workspace).image_index()) == expected
    assert len(listed) == 1
    commit = indexed.workspace / "tables" / "images" / "_delta_log" / f"{indexed.versions()['images']:020d}.json"
    commit.write_text(commit.read_text() + "\n")  # of another table that was put in its place
    put_back = Store(indexed.workspace).image_index()
    assert (len(listed), as_dict(put_back)) == (2, expected)
    monkeypatch.setattr(ShardedTable, "stamp", lambda *_: "")
    assert as_dict(Store(indexed.workspace).image_index()) == expected
    assert len(listed) == 3, "where the commit is not kept its files tell"


def test_the_images_of_a_round_come_back_in_their_order(indexed: Store) -> None:
    ids = (40, 10, 30, 20, 99, 50)
    assert indexed.put_round(Round("semi_automatic", 1, ids))
    rows = indexed.read_table("round_images").sort_by("place").to_pylist()
    assert [(row["place"], row["in_shard"], row["image_ids"]) for row in rows] == [
        (0, "000001", [40]),
        (1, "000000", [10, 30]),
        (3, "000001", [20]),
        (4, "", [99]),
        (5, "000000", [50]),
    ]
    (record,) = Store(indexed.workspace).rounds()
    assert record.image_ids == ids
    version = indexed.versions()["round_images"]
    assert not indexed.put_round(record)
    assert indexed.put_round(Round("semi_automatic", 1, ids, "annotated"))
    assert indexed.versions()["round_images"] == version, "its images are not written again"
    assert indexed.put_round(Round("semi_automatic", 1, ids[:2], "annotated"))
    assert indexed.rounds()[0].image_ids == ids[:2]


def test_a_round_killed_between_its_images_and_its_row_gets_the_images_of_its_row(indexed: Store) -> None:
    first = Round("semi_automatic", 1, (40, 10))
    indexed.put_round(first)
    indexed.put_images_of_round("semi_automatic", 1, ImageIds([20, 30]))  # and killed
    indexed.put_round(first)
    assert list(Store(indexed.workspace).rounds()[0].image_ids) == [40, 10]


def test_many_images_of_a_round_are_read_part_by_part(tmp_path: Path) -> None:
    store = new_store(tmp_path / "w")
    for number in range(3):
        put(store, f"{number:06d}", *range(number * 2000, number * 2000 + 2000))
    ids = [number * 2000 + place for place in range(2000) for number in range(3)]  # a run each
    store.put_round(Round("semi_automatic", 1, ids))
    store.put_round(Round("semi_automatic", 2, ids[:5]))
    first, second = Store(store.workspace).rounds()
    runs = list(first.image_ids.runs())  # type: ignore[attr-defined]
    assert len(runs) == len(ids)
    assert first.image_ids == ids
    assert list(first.image_ids) == ids
    assert list(second.image_ids) == ids[:5]
