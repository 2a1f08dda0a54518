"""Masks are found by an index where a scan of the tables finds them."""

from pathlib import Path
from typing import Any

import pytest

from engine import mask_index
from engine.keys import content_key
from engine.store import Store
from engine.table_files import TableFiles
from schemas.rle import Rle
from schemas.tables import table_of
from tests.rows import mask_row
from tests.templates import new_store

STAGE = "semi_automatic"


def put(store: Store, shard: str, *ids: int, table: str = STAGE) -> None:
    where: dict[str, Any] = {"image_id": 1, "shard": shard, "stage": STAGE, "round": 1}
    rows = [mask_row(Rle(4, 4, b"0`0"), **where, origin="manual", annotator="a") | {"mask_id": each} for each in ids]
    store.replace_shard(table, shard, table_of(table, rows), round=1, key=content_key(table, shard, list(ids)))


def shard_of(store: Store, mask_id: int) -> str | None:
    found = store.find_mask(mask_id)
    return found and found["shard"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(mask_index, "_FEWEST_TO_KEEP", 1)
    store = new_store(tmp_path / "w")
    put(store, "000000", 5, 3)
    put(store, "000001", 9)
    return store


def kept(store: Store) -> list[Path]:
    return sorted((store.workspace / "cache" / "masks").glob("*.arrow"))


def test_each_mask_is_found_and_no_other(store: Store) -> None:
    assert {each: shard_of(store, each) for each in (3, 4, 5, 9)} == {3: "000000", 4: None, 5: "000000", 9: "000001"}


def test_ids_are_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shard_of(store, 9) == "000001"
    again, each, read = Store(store.workspace), TableFiles.each, []

    def told(self: TableFiles, columns: Any, shards: Any) -> Any:
        read.extend(shards)
        return each(self, columns, shards)

    monkeypatch.setattr(TableFiles, "each", told)
    assert shard_of(again, 3) == "000000"
    assert read == []
    put(store, "000002", 7)
    assert shard_of(again, 7) == "000002"
    assert read == ["000002"]


def test_masks_that_are_gone_or_moved_are_not_found_where_they_were(store: Store) -> None:
    shard_of(store, 9)
    put(store, "000000", 5)
    put(store, "000002", 3)
    put(store, "000001", 10)
    assert [shard_of(store, each) for each in (3, 5, 9, 10)] == ["000002", "000000", None, "000001"]


def test_the_table_of_a_stage_comes_before_ground_truth(store: Store) -> None:
    put(store, "000004", 9, table="ground_truth")
    assert (store.find_mask(9) or {})["table"] == STAGE


@pytest.mark.parametrize("content", [b"", b"no index"])
def test_a_damaged_or_missing_cache_is_made_again(store: Store, content: bytes) -> None:
    shard_of(store, 9)
    (file,) = kept(store)
    whole = file.read_bytes()
    file.write_bytes(content)
    assert shard_of(Store(store.workspace), 3) == "000000"
    assert file.read_bytes() == whole
    file.unlink()
    assert shard_of(Store(store.workspace), 3) == "000000"


def test_many_small_runs_become_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_index, "_MOST_SMALL", 3)
    for number in range(8):
        put(store, f"{10 + number:06d}", 100 + number)
        assert shard_of(store, 100 + number) == f"{10 + number:06d}"
        assert len(kept(store)) <= 4
    found = [shard_of(Store(store.workspace), each) for each in (3, 9, 100, 107)]
    assert found == ["000000", "000001", "000010", "000017"]


def test_a_run_of_shards_that_all_changed_is_removed(store: Store) -> None:
    shard_of(store, 9)
    put(store, "000000", 50)
    put(store, "000001", 90)
    assert (shard_of(store, 50), shard_of(store, 90)) == ("000000", "000001")
    assert len(kept(store)) == 1


def test_runs_end_after_so_many_masks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_index, "_MASKS_OF_A_RUN", 2)
    assert shard_of(store, 9) == "000001"
    assert len(kept(store)) == 2
