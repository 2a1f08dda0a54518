"""Where masks come from, told truly: for every way in which a mask comes to be, its prompt is the one that made it, in
the row, in the table, in a release, and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import rle as rle_codec
from engine.labeling.annotations import read_task
from engine.labeling.published import Prefilled, PublishedImage
from engine.labeling.tool import as_work
from engine.release.scaling import Scaling
from schemas.config import AnnotatorConfig
from schemas.mask import Mask, Point, Prompt
from schemas.sa1b import Sa1bRecord, image_record, parse_record
from schemas.tables import Origin, table_of
from stages.annotators import SimulatedAnnotator
from stages.records import ShardRows, Where, add_annotations
from tests.engine.labeling.label_studio import FULL, SHOWN, annotation, rectangle, region, task
from tests.stages.fakes import RegionPredictor

HEIGHT, WIDTH = FULL
WHERE = Where(image_id=7, shard="000000", stage="semi_automatic", round=2, model_id="model-of-the-round")
SHAPE, LARGER = rectangle(4, 4, 20, 20), rectangle(4, 4, 24, 20)

x_px = st.floats(0, WIDTH, width=32, allow_subnormal=False)
y_px = st.floats(0, HEIGHT, width=32, allow_subnormal=False)
points = st.tuples(st.floats(0, WIDTH - 1, width=32), st.floats(0, HEIGHT - 1, width=32), st.sampled_from([0, 1]))
boxes = st.tuples(x_px, y_px, x_px, y_px).map(
    lambda sides: (min(sides[0::2]), min(sides[1::2]), max(sides[0::2]), max(sides[1::2]))
)
prompts = st.builds(
    Prompt,
    points=st.lists(points, max_size=4).map(tuple),
    box=st.none() | boxes,
    mask=st.none() | st.sampled_from([SHAPE, LARGER]),
)
grid_prompts = points.map(lambda point: Prompt(points=((*point[:2], 1),)))
# A detector's box has a pixel in it; a file's need not.
box_prompts = boxes.filter(lambda box: box[2] - box[0] >= 1 and box[3] - box[1] >= 1).map(lambda box: Prompt(box=box))
prefilled_prompts = grid_prompts | box_prompts


def known(prompt: Prompt, *, origin: Origin = "automatic") -> Mask:
    return replace(
        rle_codec.measured(SHAPE),
        prompt=prompt,
        origin=origin,
        predicted_iou=0.875,
        stability_score=0.96875,
        model_id="model-that-made-it" if prompt != Prompt() else "",
        generator_config="settings" if origin != "manual" else "",
    )


def through_the_table(mask: Mask) -> Mask:
    rows = ShardRows()
    rows.add_mask(mask, WHERE)
    (row,) = table_of(WHERE.stage, list(rows.masks.values())).to_pylist()
    return Mask.from_row(row)


def through_sa1b(mask: Mask) -> Mask:
    image = image_record(image_id=7, width=mask.rle.width, height=mask.rle.height, file_name="sa_7.jpg")
    written = Sa1bRecord(image=image, annotations=[mask.to_sa1b(5)]).to_json()
    (plain,) = json.loads(written)["annotations"]
    assert plain["point_coords"] == [[x, y] for x, y, label in mask.prompt.points if label], "what SA-1B's readers see"
    (read,) = parse_record(written, name="sa_7.json").annotations
    return Mask.from_sa1b(read, origin=mask.origin)


def check_all_the_way(mask: Mask, prompt: Prompt) -> None:
    """mask: as its maker left it; prompt: what it was really made from, with coordinates that float32 has."""
    stored = through_the_table(mask)
    assert stored.prompt == prompt
    assert stored == replace(mask, prompt=prompt), "nothing of a mask is lost in the table"
    released = through_sa1b(stored)
    assert_same_prompt(released.prompt, prompt)
    assert (released.rle, released.area, released.box) == (mask.rle, mask.area, mask.box)
    assert Mask.from_json(json.loads(json.dumps(stored.to_json()))) == stored


def assert_same_prompt(found: Prompt, prompt: Prompt) -> None:
    """Boxes of SA-1B are XYWH: a side may be off by the last bit of a float64."""
    assert found.points == prompt.points
    assert found.mask == prompt.mask
    assert (found.box is None) == (prompt.box is None)
    if prompt.box is not None:
        assert found.box == pytest.approx(prompt.box, rel=1e-12, abs=1e-12)


def as_float32(*taken: Point) -> tuple[Point, ...]:
    return tuple((float(np.float32(x)), float(np.float32(y)), label) for x, y, label in taken)


@given(prompts)
def test_any_prompt_goes_through_row_table_and_release_unchanged(prompt: Prompt) -> None:
    check_all_the_way(known(prompt), prompt)


@given(grid_prompts)
def test_a_mask_of_the_generator_nobody_looked_at(prompt: Prompt) -> None:
    check_all_the_way(known(prompt), prompt)


def simulated(target: Any, *, shown: list[Mask], spoil: bool = False) -> Mask:
    """What the simulated annotator makes of one object, as it is stored."""
    labels = rle_codec.decode(target).astype(int)
    work = SimulatedAnnotator(AnnotatorConfig()).annotate(
        RegionPredictor(labels, spoil=spoil),
        [target],
        rng=np.random.default_rng(0),
        prefilled=shown,
        model_id=WHERE.model_id,
    )
    (mask,) = work.masks
    rows = ShardRows()
    add_annotations(rows, work, WHERE, annotator="simulated")
    (row,) = table_of(WHERE.stage, list(rows.masks.values())).to_pylist()
    stored = Mask.from_row(row)
    assert stored.annotator == "simulated"
    assert stored.rle == mask.rle
    return stored


@given(prefilled_prompts)
def test_the_simulated_annotator_keeps_a_prefilled_mask_with_the_prompt_that_made_it(prompt: Prompt) -> None:
    kept = simulated(SHAPE, shown=[known(prompt)])
    assert (kept.origin, kept.clicks) == ("automatic", 0)
    assert (kept.model_id, kept.generator_config) == ("model-that-made-it", "settings")
    check_all_the_way(kept, prompt)


@given(prefilled_prompts)
def test_the_simulated_annotator_mends_a_prefilled_mask_with_clicks(prompt: Prompt) -> None:
    """The model is told the mask and a point of it, then each click."""
    mended = simulated(LARGER, shown=[known(prompt)])
    assert (mended.origin, mended.model_id) == ("automatic_corrected", WHERE.model_id)
    assert mended.prompt.mask == SHAPE
    assert mended.prompt.box is None, "no box was given to the model"
    assert len(mended.prompt.points) == mended.clicks + 1
    check_all_the_way(mended, mended.prompt)


def test_the_simulated_annotator_clicks_from_nothing_or_draws() -> None:
    clicked = simulated(SHAPE, shown=[])
    assert (clicked.origin, clicked.model_id) == ("manual", WHERE.model_id)
    assert len(clicked.prompt.points) == clicked.clicks > 0
    check_all_the_way(clicked, clicked.prompt)
    drawn = simulated(SHAPE, shown=[], spoil=True)
    assert (drawn.origin, drawn.model_id) == ("manual", "")
    check_all_the_way(drawn, Prompt())


def collected(*shown: Mask, **changed: Any) -> Mask:
    """What a person submitted of one region of a picture with these masks on it, as it is stored."""
    prefilled = tuple(Prefilled(f"prefilled-{number}", mask) for number, mask in enumerate(shown))
    record = PublishedImage(7, 1, SHOWN, FULL, WHERE.model_id, "settings" if shown else "", prefilled)
    record = PublishedImage.from_json(json.loads(json.dumps(record.to_json())))
    pixels, region_id = changed.pop("pixels", SHAPE), "prefilled-0" if shown else "new"
    work = as_work(read_task(task(annotation(region(pixels, region_id, **changed))), record))
    rows = ShardRows()
    add_annotations(rows, work, WHERE, annotator="label_studio:3")
    (row,) = table_of(WHERE.stage, list(rows.masks.values())).to_pylist()
    return Mask.from_row(row)


@given(prefilled_prompts)
def test_a_person_keeps_a_prefilled_mask(prompt: Prompt) -> None:
    kept = collected(known(prompt))
    assert (kept.origin, kept.annotator, kept.clicks) == ("automatic", "label_studio:3", 0)
    assert (kept.model_id, kept.generator_config) == ("model-that-made-it", "settings")
    check_all_the_way(kept, prompt)


@given(prefilled_prompts)
def test_a_person_mends_a_prefilled_mask_with_the_brush(prompt: Prompt) -> None:
    mended = collected(known(prompt), pixels=LARGER)
    assert (mended.origin, mended.rle, mended.clicks) == ("automatic_corrected", LARGER, 0)
    check_all_the_way(mended, Prompt(mask=SHAPE))


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.sampled_from([0, 1])), min_size=1, max_size=3))
def test_a_person_clicks(percent: list[Point]) -> None:
    made = collected(t_first=10, t_last=12, points=[list(click) for click in percent], model_id="served")
    expected = as_float32(*((x * WIDTH / 100, y * HEIGHT / 100, label) for x, y, label in percent))
    assert (made.origin, made.clicks, made.model_id) == ("manual", len(percent), "served")
    check_all_the_way(made, Prompt(points=expected))


def test_a_person_draws_a_box_or_the_mask_itself() -> None:
    boxed = collected(t_first=10, t_last=12, points=[], box=[10.0, 25.0, 50.0, 75.0])
    assert (boxed.origin, boxed.clicks, boxed.model_id) == ("manual", 1, WHERE.model_id)
    check_all_the_way(boxed, Prompt(box=(6.0, 10.0, 30.0, 30.0)))
    drawn = collected()
    assert (drawn.origin, drawn.clicks, drawn.model_id) == ("manual", 0, "")
    check_all_the_way(drawn, Prompt())


@given(prefilled_prompts | st.just(Prompt()) | prompts, st.sampled_from(["manual", "automatic", "automatic_corrected"]))
def test_a_mask_that_a_gate_sent_back_and_that_people_keep(prompt: Prompt, origin: Origin) -> None:
    before = through_the_table(known(prompt, origin=origin))
    row = before.to_row(**WHERE.columns())
    (removed,) = table_of("removed", [row | {"gate": "verification", "shown_again": True}]).to_pylist()
    back = Prefilled.from_json(json.loads(json.dumps(Prefilled("mask-1", Mask.from_row(removed)).to_json())), FULL)
    kept = collected(back.mask)
    assert replace(kept, annotator=before.annotator) == before
    check_all_the_way(kept, prompt)


def test_ground_truth_names_no_prompt() -> None:
    check_all_the_way(replace(rle_codec.measured(SHAPE), annotator="imported", label="brick"), Prompt())


@given(prompts)
def test_a_release_at_half_the_size_has_the_prompt_at_half_the_size(prompt: Prompt) -> None:
    (released,) = Scaling(HEIGHT, WIDTH, HEIGHT // 2, WIDTH // 2).released([known(prompt)])
    assert released is not None
    half = Prompt(
        tuple((x / 2, y / 2, label) for x, y, label in prompt.points),
        None if prompt.box is None else tuple(side / 2 for side in prompt.box),
        None if prompt.mask is None else rle_codec.encode(rle_codec.decode(prompt.mask)[::2, ::2]),
    )
    assert released.prompt == half
    assert_same_prompt(through_sa1b(released).prompt, half)


def of_the_first_form(**changes: Any) -> dict[str, Any]:
    """A prefilled mask as it was written before masks said what had made them."""
    return {
        "region_id": "prefilled-0",
        "origin": "automatic",
        "counts": SHAPE.counts.decode(),
        "box_xyxy": [4, 4, 19, 19],
        "area": 256,
        "predicted_iou": 0.9,
        "stability_score": 0.97,
        "crop_box_xyxy": [0, 0, WIDTH, HEIGHT],
        "point_xy": [12.0, 12.0],
    } | changes


def published_in_the_first_form(*, generation: list[dict[str, Any]], **changes: Any) -> Mask:
    record = {
        "image_id": "7",
        "task": 1,
        "shown_hw": list(SHOWN),
        "full_hw": list(FULL),
        "model_id": "m",
        "generator_config": "c",
        "prefilled": [of_the_first_form(**changes)],
        "generation": generation,
    }
    return PublishedImage.from_json(record).prefilled[0].mask


def test_files_of_the_first_form_are_read_without_the_points_that_nobody_set() -> None:
    of_grid = published_in_the_first_form(generation=[{"masks": 1}])
    assert of_grid.prompt == Prompt(points=((12.0, 12.0, 1),))
    assert (of_grid.rle, of_grid.area, of_grid.box) == (SHAPE, 256, (4, 4, 20, 20))
    assert (of_grid.model_id, of_grid.generator_config, of_grid.origin) == ("m", "c", "automatic")
    assert published_in_the_first_form(generation=[]).prompt == Prompt(), "the middle of some box"
    back = {"region_id": "mask-5", "origin": "manual"}
    drawn = published_in_the_first_form(generation=[{"masks": 1}], **back)
    assert (drawn.prompt, drawn.model_id) == (Prompt(), ""), "the middle of its own box"
    clicked = published_in_the_first_form(generation=[], point_xy=[6.0, 7.0], **back)
    assert clicked.prompt == Prompt(points=((6.0, 7.0, 1),))
    kept_before = of_the_first_form(region_id="mask-5", point_xy=[6.0, 7.0])
    assert Prefilled.from_json(kept_before, FULL).mask.prompt == Prompt(), "a box may have made it"


def test_a_table_from_before_masks_were_prompts_is_read(tmp_path: Path) -> None:
    from engine.delta import ShardedTable
    from schemas.tables import MASKS

    prompt = Prompt(points=((3.0, 4.0, 1),))
    row = known(prompt).to_row(**WHERE.columns())
    old = pa.schema([field for field in MASKS if field.name != "mask_prompt"])
    ShardedTable(tmp_path / "t", old).create()
    rows = pa.table([pa.array([row[field.name]], type=field.type) for field in old], schema=old)
    ShardedTable(tmp_path / "t", old).replace("shard = '000000'", rows, app_id="a", number=1)
    (found,) = ShardedTable(tmp_path / "t", MASKS).read("000000").to_pylist()
    assert Mask.from_row(found) == known(prompt)
