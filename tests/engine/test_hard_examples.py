"""Which masks were hard to make, by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine import rle as rle_codec
from engine.hard_examples import hard_masks, took_long
from engine.keys import content_key
from engine.quality.returned import take_out
from engine.store import Store
from schemas.rle import Rle
from schemas.stages import STAGES
from schemas.tables import Round, table_of
from tests.engine.stores import store_of_images
from tests.rows import mask_row

IMAGE = 7


def rows_of(seconds: Sequence[float], *, stage: int = 0, round: int = 1, origin: str = "manual") -> pa.Table:
    count = len(seconds)
    return pa.table(
        {
            "stage_index": pa.array([stage] * count, pa.int8()),
            "round": pa.array([round] * count, pa.int32()),
            "seconds": pa.array(seconds, pa.float32()),
            "origin": [origin] * count,
        }
    )


def block(column: int) -> Rle:
    mask = np.zeros((40, 60), dtype=bool)
    mask[:5, column] = True
    return rle_codec.encode(mask)


def put(store: Store, masks: Sequence[Rle], *, stage: str = "assisted_manual", round: int = 1, **known: Any) -> None:
    where: dict[str, Any] = {"image_id": IMAGE, "shard": "000000", "stage": stage, "round": round}
    rows = [mask_row(rle, **where, origin="manual", **known) for rle in masks]
    store.replace_shard(stage, "000000", table_of(stage, rows), round=round, key=content_key(stage, round))


def hard_of(store: Store) -> set[tuple[str, int, bytes]]:
    """Stage, round and counts of the masks that are hard."""
    found = set()
    for stage in STAGES:
        rows = store.read_table(stage)
        rows = rows.append_column("stage_index", pa.array([STAGES.index(stage)] * len(rows), pa.int8()))
        hard = hard_masks(store, rows)
        found |= {(stage, row["round"], row["rle"]) for row, one in zip(rows.to_pylist(), hard, strict=True) if one}
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of_images(tmp_path, [IMAGE, 8])


def test_long_is_relative_to_the_round() -> None:
    """Geometric means: 10 * 2 ** (1 / 4) = 11.9, of which 1.4 times are 16.6; and 20 * 1.19 = 23.8, 33.3."""
    first, second = rows_of([10, 10, 20, 10]), rows_of([20, 20, 20, 40], round=2)
    assert took_long(first).tolist() == [False, False, True, False]
    assert took_long(pa.concat_tables([first, second])).tolist() == [False, False, True, False, *[False] * 3, True]
    same_number = rows_of([20, 20, 20, 40], stage=1)
    assert took_long(pa.concat_tables([first, same_number])).tolist() == [False, False, True, False, *[False] * 3, True]


def test_long_begins_at_1_4_times_the_mean() -> None:
    """Of 1 and r the geometric mean is sqrt(r), so r is long from 1.4 ** 2 = 1.96 on."""
    below, above = rows_of([8, 8 * 1.959]), rows_of([8, 8 * 1.961])
    assert took_long(below).tolist() == [False, False]
    assert took_long(above).tolist() == [False, True]


def test_where_all_took_as_long_none_is_hard() -> None:
    assert not took_long(rows_of([27] * 9 + [12])).any()
    assert took_long(rows_of([])).tolist() == []


def test_one_who_went_for_a_coffee_makes_no_other_mask_easy() -> None:
    seconds = [10.0] * 30 + [25.0] * 10
    assert took_long(rows_of([*seconds, 1800])).tolist() == [False] * 30 + [True] * 11


def test_masks_that_nobody_made_are_neither_hard_nor_counted() -> None:
    """Kept as they were prefilled, imported without a time, or automatic: with them the mean would be 4.6, not 11.9."""
    people = rows_of([10, 10, 20, 10])
    kept = rows_of([1.5] * 6, origin="automatic")
    unknown = rows_of([0.0, float("nan")])
    found = took_long(pa.concat_tables([people, kept, unknown]))
    assert found.tolist() == [False, False, True, False, *[False] * 8]
    assert not took_long(rows_of([5, 50], origin="automatic")).any()


def test_masks_made_after_a_gate_sent_an_image_back_are_hard(store: Store) -> None:
    """Round 1: masks 0 and 1, of which 1 is rejected. Round 2 keeps 0 and makes 2 in place of 1."""
    put(store, [block(0), block(1)], seconds=10.0)
    rejected = mask_row(block(1), image_id=IMAGE, shard="000000", stage="assisted_manual", round=1)["mask_id"]
    record = Round("assisted_manual", 1, (IMAGE,))
    take_out(store, "verification", record, images={IMAGE}, mask_ids={rejected})
    assert len(store.read_table("assisted_manual")) == 0, "what a gate rejects is never learned from"
    put(store, [block(0), block(2)], round=2, seconds=10.0)
    assert hard_of(store) == {("assisted_manual", 2, block(2).counts)}
    put(store, [block(3)], stage="semi_automatic", seconds=10.0)
    assert ("semi_automatic", 1, block(3).counts) in hard_of(store)


def test_masks_from_before_an_image_was_sent_back_are_not(store: Store) -> None:
    put(store, [block(0)], seconds=10.0)
    take_out(store, "exhaustivity", Round("assisted_manual", 2, (IMAGE,)), images={IMAGE}, mask_ids=set())
    assert hard_of(store) == set()
