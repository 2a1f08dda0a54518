"""The worker of the stages in which annotators work: what it hands to their tool, and what it makes of their work."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rle
from engine.annotation import (
    AnnotatedImage,
    AnnotationProgress,
    Event,
    GivenAnnotation,
    ImageWork,
    OpenRound,
    ShownImage,
)
from engine.keys import content_key
from engine.labeling.usefulness import usefulness
from engine.quality.returned import take_out
from engine.store import Store
from model.predictor import Predictor
from schemas.mask import Mask
from schemas.rle import Rle
from schemas.stages import Stage
from schemas.tables import GROUND_TRUTH, Round, table_of
from stages.annotation import AnnotationWorker
from stages.records import ShardRows, Where
from stages.workers import Picture
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace, tiny_sam

STAGE: Stage = "assisted_manual"
DONE = AnnotationProgress(finished=True, message="done")


def square(side: int) -> Mask:
    pixels = np.zeros((48, 56), dtype=bool)
    pixels[:side, :side] = True
    return rle.measured(rle.encode(pixels))


class Tool:
    """Remembers what it is asked for, and gives back what it is told to."""

    def __init__(self, *images: AnnotatedImage) -> None:
        self.images = images
        self.asked: list[Any] = []

    def publish(self, work: OpenRound) -> None:
        self.asked.append(("publish", work))

    def collect(self, work: OpenRound) -> AnnotationProgress:
        self.asked.append(("collect", work))
        return DONE

    def settings(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Sequence[object]:
        self.asked.append((work, shard, image_ids))
        return ("settings", 3)

    def annotated(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Iterator[AnnotatedImage]:
        self.asked.append((work, shard, image_ids))
        yield from self.images


class Worker(AnnotationWorker):
    stage: Stage = STAGE


class Prefilling(Worker):
    """Shows a mask on the image of the lowest id, and tells of each how that went."""

    generator_config_hash = "hash"  # type: ignore[assignment]

    def prefilled(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[Mask]:
        rows.generation.append({"where": where})
        return [square(5)] if picture.image_id == min(self.record.image_ids) else []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four pictures in two shards, and an open second round of all of them."""
    made = make_workspace(tmp_path, images=4, holdout=0)
    made.put_round(Round(STAGE, 2, ids(made), model_before="m"))
    return made


def ids(store: Store) -> tuple[int, ...]:
    return tuple(sorted(store.images()["image_id"].to_pylist()))


def worker(store: Store, tool: Tool, kind: type[AnnotationWorker] = Worker) -> AnnotationWorker:
    made = kind(store.workspace, 2)
    made.tool = tool  # type: ignore[misc, assignment]
    return made


def test_annotators_are_shown_what_is_missing_before_their_work_is_read(store: Store) -> None:
    tool = Tool()
    made = worker(store, tool)
    assert made.move() is DONE
    assert tool.asked == [("publish", made), ("collect", made)]


def test_what_a_shard_follows_from_is_what_the_tool_says_of_its_images(store: Store) -> None:
    tool, shard = Tool(), store.shards()[0]
    made = worker(store, tool)
    assert made.settings(shard) == ("settings", 3)
    assert tool.asked == [(made, shard, made.images_by_shard[shard])]
    assert made.prefill_settings == ()
    assert made.generator_config_hash == ""


def test_rows_are_made_of_what_the_tool_gives_back(store: Store) -> None:
    """Of the first image all that there is, of the second what people gave although nobody finished it."""
    shard = store.shards()[0]
    first, second = worker(store, Tool()).images_by_shard[shard][:2]
    work = ImageWork([square(3), square(4)], [Event("draw", at_s=2.0, seconds=2.0, mask=1)])
    given = GivenAnnotation(7, "tool:1", True, False, 2, 1, 4.0, 1e9, 1, (square(6),))
    tool = Tool(
        AnnotatedImage(first, "tool:1", "m1", work, ({"row": 1},), (given,)),
        AnnotatedImage(second, "tool:2", "m2", None, ({"row": 2},), (replace(given, number=8),)),
    )
    made = worker(store, tool)
    rows = made.make_rows(shard, (first, second))
    assert tool.asked == [(made, shard, (first, second))]
    masks = list(rows.masks.values())
    assert [(row["image_id"], row["shard"], row["stage"], row["round"]) for row in masks] == [
        (first, shard, STAGE, 2)
    ] * 2
    assert [(row["area"], row["annotator"]) for row in masks] == [(9, "tool:1"), (16, "tool:1")]
    assert [(row["image_id"], row["annotator"], row["mask_id"]) for row in rows.events] == [
        (first, "tool:1", masks[1]["mask_id"])
    ]
    assert rows.generation == [{"row": 1}, {"row": 2}]
    assert [(row["annotation"], row["image_id"]) for row in rows.annotations] == [(7, first), (8, second)]


def test_images_of_which_the_model_is_least_sure_come_first_and_equal_ones_by_id(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c, d = ids(store)
    scores = {a: 0.5, b: 0.75, c: 0.5, d: 0.25}
    monkeypatch.setattr(Worker, "_usefulness", lambda self, image_id: scores[image_id])
    assert worker(store, Tool()).most_useful_first([d, c, b, a]) == [b, a, c, d]


def test_how_useful_an_image_is_the_model_of_the_round_says(store: Store) -> None:
    made = worker(store, Tool())
    made.sam = tiny_sam()  # type: ignore[misc]
    predictor = Predictor(tiny_sam())
    for image_id in ids(store)[:2]:
        predictor.set_image(store.load_image(image_id))
        assert made._usefulness(image_id) == pytest.approx(usefulness(predictor))


def test_a_fresh_image_is_shown_with_what_the_stage_prefills(store: Store) -> None:
    first, second, *_ = ids(store)
    bare, *_ = worker(store, Tool()).shown([first])
    assert bare.masks == bare.mask_ids == bare.generation == ()
    assert (bare.image_id, bare.model_id, bare.generator_config) == (first, "m", "")
    assert (bare.pixels == store.load_image(first)).all()
    with_mask, without = worker(store, Tool(), Prefilling).shown([first, second])
    assert with_mask.masks == (square(5),)
    assert (with_mask.generator_config, without.generator_config) == ("hash", "")
    assert (with_mask.mask_ids, without.masks) == ((), ())
    for shown in (with_mask, without):
        where = Where(shown.image_id, store.shard_of(shown.image_id), STAGE, 2, "m")
        assert shown.generation == ({"where": where},)


def annotated_round(store: Store, number: int, image_ids: Sequence[int]) -> Round:
    """A round whose masks are the ground truth."""
    record = Round(STAGE, number, tuple(image_ids), "annotated", "m")
    store.put_round(record)
    for shard in store.shards():
        place = {"shard": shard, "stage": STAGE, "round": number}
        rows = [
            mask_row(Rle.of_row(row), image_id=row["image_id"], **place, origin="manual", annotator="hand")
            for row in store.read_shard(GROUND_TRUTH, shard).to_pylist()
            if row["image_id"] in image_ids
        ]
        store.replace_shard(STAGE, shard, table_of(STAGE, rows), round=number, key=content_key(shard, number))
    return record


def test_an_image_that_a_gate_sent_back_is_shown_as_it_was(store: Store) -> None:
    first, second, *_ = ids(store)
    record = annotated_round(store, 1, [first, second])
    rows = store.read_rows(STAGE, image_id=first).sort_by("mask_id").to_pylist()
    take_out(store, "verification", record, images={first}, mask_ids={rows[1]["mask_id"]})
    back, fresh = worker(store, Tool(), Prefilling).shown([first, second])
    kept = [rows[0], rows[2]]
    assert back.mask_ids == tuple(row["mask_id"] for row in kept)
    assert back.masks == tuple(Mask.from_row(row) for row in kept)
    assert (back.model_id, back.generator_config, back.generation) == ("m", "", ())
    assert fresh.mask_ids == ()
    assert isinstance(fresh, ShownImage)


def test_an_image_that_an_earlier_round_took_up_again_is_fresh(store: Store) -> None:
    first, *others = ids(store)
    take_out(store, "verification", annotated_round(store, 1, [first]), images={first}, mask_ids=set())
    later = Worker(store.workspace, 3)
    store.put_round(Round(STAGE, 3, ids(store), model_before="m"))
    (shown,) = later.shown([first])
    assert shown.mask_ids == (), "round 2 had it"
    store.put_round(Round(STAGE, 2, tuple(others), model_before="m"))
    (shown,) = Worker(store.workspace, 3).shown([first])
    assert len(shown.mask_ids) == 3


def test_what_a_tool_tells_is_told_with_its_round(store: Store) -> None:
    told: list[Any] = []
    made = Worker(store.workspace, 2, lambda what, done, total, note="": told.append((what, done, total)))
    made.tell("publish", 3, 9)
    assert told == [(f"{STAGE} round 2: publish", 3, 9)]
