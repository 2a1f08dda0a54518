import json
from dataclasses import replace

import numpy as np
import pytest

from engine import rle
from engine.masks.difference import MaskDifference
from engine.masks.generator import GenerationResult
from schemas.config import Stage
from schemas.mask import Mask, Prompt
from schemas.tables import table_of
from stages.records import ShardRows, Where, add_generation

STAGE: Stage = "fully_automatic"
WHERE = Where(image_id=7, shard="000000", stage=STAGE, round=1, model_id="m")


def generated(y1: int, x1: int) -> Mask:
    """The first y1 rows and x1 columns of a picture of 4 x 5 pixels."""
    mask = np.zeros((4, 5), dtype=bool)
    mask[:y1, :x1] = True
    return replace(rle.measured(rle.encode(mask)), prompt=Prompt(points=((0.5, 0.5, 1),)), origin="automatic")


def rows_of(masks: list[Mask], parents: list[int | None] | None, coverage_frac: float = 0.5) -> ShardRows:
    rows = ShardRows()
    result = GenerationResult(masks, {"empty": 2}, {"nms": 0.12345}, coverage_frac=coverage_frac, parents=parents)
    add_generation(rows, result, WHERE, generator_config="c")
    for mask in masks:
        rows.add_mask(mask, WHERE)
    return rows


def test_how_the_generator_fared_is_a_row_of_the_generation_table() -> None:
    (row,) = table_of("generation", rows_of([generated(2, 2)], None, coverage_frac=0.2).generation).to_pylist()
    assert row.pop("coverage_frac") == pytest.approx(0.2)
    assert row == {
        "image_id": 7,
        "shard": "000000",
        "stage": STAGE,
        "round": 1,
        "model_id": "m",
        "generator_config": "c",
        "masks": 1,
        "dropped": '{"empty": 2}',
        "seconds": '{"nms": 0.1235}',
        "parents": [],
        "difference_to_exact": "",
    }


def test_what_fast_changes_is_said_where_it_was_looked_at() -> None:
    rows, difference = ShardRows(), MaskDifference(3, 2, 1, 0, 0.99, 0.97)
    result = GenerationResult([], {}, {}, coverage_frac=0.0, parents=None)
    add_generation(rows, result, WHERE, generator_config="c", difference=difference)
    (row,) = table_of("generation", rows.generation).to_pylist()
    assert MaskDifference(**json.loads(row["difference_to_exact"])) == difference


def test_parents_are_ids_of_rows_of_the_masks_table() -> None:
    """Of five masks two are equal: they are one row, which has one parent."""
    masks = [generated(1, 1), generated(4, 5), generated(2, 2), generated(1, 1), generated(3, 1)]
    rows = rows_of(masks, [2, None, 1, 2, 1])
    (row,) = table_of("generation", rows.generation).to_pylist()
    areas = {mask_id: mask["area"] for mask_id, mask in rows.masks.items()}
    nested = {areas[pair["mask_id"]]: areas[pair["parent_mask_id"]] for pair in row["parents"]}
    assert nested == {1: 4, 4: 20, 3: 20}
    assert len(row["parents"]) == 3
