import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from engine import rle
from engine.annotation import Event, GivenAnnotation, ImageWork
from engine.masks.difference import MaskDifference
from engine.masks.generator import GenerationResult
from schemas.mask import Mask, Prompt, mask_id
from schemas.stages import Stage
from schemas.tables import table_of
from stages.records import ShardRows, Where, add_annotations, add_generation, add_given, masks_by_image

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
    areas = {identity: mask["area"] for identity, mask in rows.masks.items()}
    nested = {areas[pair["mask_id"]]: areas[pair["parent_mask_id"]] for pair in row["parents"]}
    assert nested == {1: 4, 4: 20, 3: 20}
    assert len(row["parents"]) == 3


def test_what_an_annotator_did_is_rows_of_the_masks_and_of_the_events_tables() -> None:
    rows = ShardRows()
    events = [
        Event("draw", at_s=12.5, seconds=2.5, mask=1, detail={"y": 1, "iou": 0.5}),
        Event("skip", at_s=13.0, seconds=0.5),
    ]
    add_annotations(rows, ImageWork([generated(2, 2), generated(3, 3)], events), WHERE, annotator="hand")
    assert [row["area"] for row in rows.masks.values()] == [4, 9]
    assert {row["annotator"] for row in rows.masks.values()} == {"hand"}
    first, second = table_of("events", rows.events).to_pylist()
    place = {"image_id": 7, "shard": "000000", "stage": STAGE, "round": 1, "annotator": "hand"}
    drawn = list(rows.masks)[1]
    # SHA-256 of "7/fully_automatic/1/0" and "7/fully_automatic/1/1", their first 63 bits.
    ids = (int(hashlib.sha256(f"7/{STAGE}/1/{number}".encode()).hexdigest()[:16], 16) // 2 for number in (0, 1))
    assert first == place | {
        "event_id": next(ids),
        "kind": "draw",
        "at_s": 12.5,
        "seconds": 2.5,
        "mask_id": drawn,
        "detail": '{"iou": 0.5, "y": 1}',
    }
    assert second == place | {
        "event_id": next(ids),
        "kind": "skip",
        "at_s": 13.0,
        "seconds": 0.5,
        "mask_id": 0,
        "detail": "{}",
    }
    assert rows.generation == []


def test_a_mask_that_is_there_is_not_added_again() -> None:
    rows = ShardRows()
    first = rows.add_mask(generated(2, 2), WHERE)
    assert rows.add_mask(replace(generated(2, 2), annotator="other"), WHERE) == first
    assert [row["annotator"] for row in rows.masks.values()] == [generated(2, 2).annotator]
    assert rows.add_mask(generated(2, 2), replace(WHERE, round=2)) != first


def test_counts_and_seconds_are_written_in_the_order_of_their_names() -> None:
    rows = ShardRows()
    result = GenerationResult([], {"nms": 2, "empty": 1}, {"nms": 0.5, "encode": 1.0}, coverage_frac=0.0, parents=None)
    add_generation(rows, result, WHERE, generator_config="c", difference=MaskDifference(3, 2, 1, 0, 0.99, 0.97))
    (row,) = rows.generation
    assert row["dropped"] == '{"empty": 1, "nms": 2}'
    assert row["seconds"] == '{"encode": 1.0, "nms": 0.5}'
    assert list(json.loads(row["difference_to_exact"])) == sorted(asdict(MaskDifference(3, 2, 1, 0, 0.99, 0.97)))


def test_masks_are_grouped_by_image_in_the_order_of_their_ids() -> None:
    rows = ShardRows()
    for image_id in (9, 7):
        for side in (1, 2, 3):
            rows.add_mask(generated(side, side), replace(WHERE, image_id=image_id))
    found = masks_by_image(table_of(STAGE, list(rows.masks.values())))
    assert {image_id: len(masks) for image_id, masks in found.items()} == {7: 3, 9: 3}
    for image_id, masks in found.items():
        ids = [mask_id(image_id, STAGE, 1, mask.counts) for mask in masks]
        assert ids == sorted(ids)


def test_what_each_person_gave_is_a_row_of_the_annotations_table() -> None:
    rows = ShardRows()
    first = GivenAnnotation(7, "tool:1", True, False, 2, 3, 4.5, 1e9, 2, (generated(1, 1), generated(2, 2)))
    second = GivenAnnotation(8, "tool:2", False, True, 2, 0, 1.5, 2e9, 0)
    add_given(rows, [first, second], WHERE)
    given, skipped = table_of("annotations", rows.annotations).to_pylist()
    masks = [Mask.from_json(mask) for mask in json.loads(given.pop("masks"))]
    assert masks == [replace(mask, annotator="tool:1") for mask in first.masks]
    place = {"image_id": 7, "shard": "000000", "stage": STAGE, "round": 1}
    assert given == place | {
        "annotation": 7,
        "annotator": "tool:1",
        "people": 2,
        "valid": True,
        "skipped": False,
        "unaccepted_prompts": 3,
        "seconds": 4.5,
        "submitted_s": 1e9,
        "mask_count": 2,
    }
    assert (skipped["annotation"], skipped["skipped"], skipped["masks"]) == (8, True, "[]")
    assert rows.masks == {}, "what counts is added by itself"
