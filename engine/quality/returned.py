"""Images that a gate of quality sends back to annotators, and the masks that it takes out of a stage's table."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from engine.keys import content_key
from engine.store import Store
from schemas.labeling import Gate
from schemas.stages import ANNOTATED_STAGES, STAGES, Stage
from schemas.tables import Round, table_of


@dataclass(frozen=True)
class ReturnedImage:
    """An image whose masks of a round were taken out of the tables."""

    image_id: int
    stage: Stage
    round: int


def returned_images(store: Store) -> list[ReturnedImage]:
    """All that ever were, in the order of stages and rounds."""
    rows = [
        ReturnedImage(row["image_id"], row["stage"], row["round"]) for row in store.read_rows("returned").to_pylist()
    ]
    return sorted(rows, key=lambda image: (_order(image.stage, image.round), image.image_id))


def masks_shown_again(store: Store, image: ReturnedImage) -> list[dict[str, Any]]:
    """Rows of the masks that an image comes back with, for annotators to keep, mend or delete; in the order of ids."""
    place: dict[str, str | int] = {"image_id": image.image_id, "stage": image.stage, "round": image.round}
    rows = store.read_rows("removed", shard=store.shard_of(image.image_id), **place).sort_by("mask_id").to_pylist()
    return [row for row in rows if row["shown_again"]]


def take_out(
    store: Store, gate: Gate | Literal["explorer"], record: Round, *, images: Set[int], mask_ids: Set[int]
) -> None:
    """Take masks out of the table of a round: those of `images`, which go back to annotators, and `mask_ids` for good.

    gate: also "explorer", where somebody looked at a release.

    First they are kept in the tables `removed` and `returned`, then they leave: killed in between it is done again, and
    that changes nothing.
    """
    rows = store.read_rows(record.stage, round=record.round)
    leaving = rows.filter(
        pc.or_(
            pc.is_in(rows["image_id"], value_set=pa.array(sorted(images), pa.int64())),
            pc.is_in(rows["mask_id"], value_set=pa.array(sorted(mask_ids), pa.int64())),
        )
    )
    _keep_removed(store, gate, leaving, for_good=mask_ids)
    _keep_returned(store, gate, record, images)
    for shard in sorted(set(leaving["shard"].to_pylist())):
        there = store.read_shard(record.stage, shard, round=record.round)
        kept = there.filter(pc.invert(pc.is_in(there["mask_id"], value_set=leaving["mask_id"].combine_chunks())))
        before = store.committed(record.stage, shard, round=record.round)
        key = content_key(gate, before, sorted(leaving["mask_id"].to_pylist()))
        store.replace_shard(record.stage, shard, kept, round=record.round, key=key)


def waiting(images: Sequence[ReturnedImage], rounds: Sequence[Round]) -> list[ReturnedImage]:
    """Those that no later round of people has taken up; each image once, as it was sent back last."""
    latest = {image.image_id: image for image in images}
    if not latest:
        return []
    taken_up: dict[int, tuple[int, int]] = {}
    for record in rounds:
        if record.stage in ANNOTATED_STAGES:
            for image_id in record.worked_on:
                taken_up[image_id] = max(taken_up.get(image_id, (0, 0)), _order(record.stage, record.round))
    return [
        image for image in latest.values() if taken_up.get(image.image_id, (0, 0)) <= _order(image.stage, image.round)
    ]


def _keep_removed(store: Store, gate: str, masks: pa.Table, *, for_good: Set[int]) -> None:
    rows = [row | {"gate": gate, "shown_again": row["mask_id"] not in for_good} for row in masks.to_pylist()]
    store.put_rows("removed", table_of("removed", rows), by=("mask_id",))


def _keep_returned(store: Store, gate: str, record: Round, images: Set[int]) -> None:
    """An image that was sent back from the same round before keeps its first row: sending it back twice is once."""
    place: dict[str, str | int] = {"stage": record.stage, "round": record.round}
    known = set(store.read_rows("returned", **place)["image_id"].to_pylist())
    rows = [
        {"gate": gate, **place, "image_id": image_id, "shard": store.shard_of(image_id)}
        for image_id in sorted(images - known)
    ]
    store.put_rows("returned", table_of("returned", rows), by=("stage", "round", "image_id"))


def _order(stage: Stage, number: int) -> tuple[int, int]:
    return STAGES.index(stage), number
