"""Sums that were made with a shard, or are made when they are missing or of other rows."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.analysis import sums
from engine.analysis.sums import ShardSums, Worked, sums_of_shards
from engine.keys import content_key
from engine.store import Store
from schemas.rle import Rle
from schemas.tables import table_of
from tests.rows import mask_row
from tests.templates import new_store

STAGE, KEY = "semi_automatic", content_key("work")
PLACE: dict[str, Any] = {"stage": STAGE, "round": 1, "shard": "000000"}
SUMS = ShardSums(
    masks=9,
    origins=Counter(automatic=2),
    worked={"a": Worked(3, 4.5, 6, 1)},
    events=Counter(draw=1),
    event_s=7.25,
    annotators={"a", "b"},
    generation={"images": 1, "masks": 9, "seconds": {"nms": 0.5}, "dropped": {"area": 3}, "differences": [{"x": 1}]},
    left_out=[7],
    unreadable={9: "9.png: gone"},
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One mask by hand in round 1, and one of another round."""
    store = new_store(tmp_path / "w")
    for number in (1, 2):
        where = {"image_id": 1, "shard": "000000", "stage": STAGE, "round": number}
        row = mask_row(Rle(4, 4, b"0`0"), **where, origin="manual", annotator="a", seconds=4 * number, clicks=2)
        store.replace_shard(STAGE, "000000", table_of(STAGE, [row]), round=number, key=KEY)
    return store


def keep(store: Store, key: str) -> None:
    row = {**PLACE, "key": key, "sums": SUMS.to_json()}
    store.replace_shard("shard_sums", "000000", table_of("shard_sums", [row]), stage=STAGE, round=1, key=key)


def test_json_keeps_all() -> None:
    assert ShardSums.from_json(SUMS.to_json()) == SUMS


def test_sums_from_before_images_were_left_out_have_none() -> None:
    before = {
        name: value for name, value in json.loads(SUMS.to_json()).items() if name not in ("left_out", "unreadable")
    }
    assert ShardSums.from_json(json.dumps(before)) == replace(SUMS, left_out=[], unreadable={})


def test_sums_are_read_and_not_the_masks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, KEY)

    def counted(*_: object) -> ShardSums:
        raise AssertionError("masks were read")

    monkeypatch.setattr(sums, "_counted", counted)
    assert list(sums_of_shards(store, STAGE, 1, {"000000": KEY})) == [SUMS]


def test_without_sums_or_with_those_of_other_rows_the_masks_are_counted(store: Store) -> None:
    of_masks = ShardSums(masks=1, origins=Counter(manual=1), worked={"a": Worked(1, 4.0, 2, 0)})
    assert list(sums_of_shards(store, STAGE, 1, {"000000": KEY})) == [of_masks]
    keep(store, content_key("work that was killed before its masks"))
    assert list(sums_of_shards(store, STAGE, 1, {"000000": KEY})) == [of_masks]


def test_sums_of_the_generator_add_up_key_by_key() -> None:
    added = ShardSums()
    for _ in range(2):
        added.add(SUMS)
    added.add(ShardSums(generation=SUMS.generation | {"dropped": {"nms": 4}}))  # type: ignore[operator]
    assert added.left_out == [7, 7]
    assert added.unreadable == SUMS.unreadable
    assert added.generation == {
        "images": 3,
        "masks": 27,
        "seconds": {"nms": 1.5},
        "dropped": {"area": 6, "nms": 4},
        "differences": [{"x": 1}] * 3,
    }
    assert (added.masks, added.worked) == (18, {"a": Worked(6, 9.0, 12, 2)})
