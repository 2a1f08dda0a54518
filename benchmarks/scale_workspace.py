"""Synthetic workspaces with the real tables, written a few hundred shards a commit."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake
from PIL import Image

from engine.analysis.generation import generation_sums
from engine.analysis.sums import ShardSums
from engine.keys import content_key
from engine.store import Store
from schemas.default_settings import DEFAULT_YAML
from schemas.image_ids import ImageIds
from schemas.round_metrics import RoundMetrics
from schemas.stages import Stage
from schemas.tables import TABLES, Round
from stages.shards import ShardOutcome

STAGE: Stage = "fully_automatic"
_ROWS_A_COMMIT = 1_500_000
_RLE_BYTES = 220  # a mask of SA-1B's, on average
_HW = (1500, 2250)
Ids = npt.NDArray[np.int64]


class Size(NamedTuple):
    """Of a workspace."""

    shards: int
    images_per_shard: int
    masks_per_image: int

    @property
    def images(self) -> int:
        return self.shards * self.images_per_shard

    @property
    def masks(self) -> int:
        return self.images * self.masks_per_image


FULL_SIZE = Size(11_000, 1000, 100)


def build(folder: Path, size: Size) -> Path:
    """A workspace of that size with one round of all images that is done; what is there already stays."""
    done = folder / "built"
    if done.exists():
        return folder
    store = Store.create(folder)
    (folder / "engine.yaml").write_text(DEFAULT_YAML, encoding="utf-8")
    Image.fromarray(np.zeros((30, 45, 3), dtype=np.uint8)).save(folder / "images" / "one.png")
    rng = np.random.default_rng(0)
    names = [f"{number:06d}" for number in range(size.shards)]
    at_once = max(1, min(500, _ROWS_A_COMMIT // (size.images_per_shard * max(1, size.masks_per_image))))
    ids: list[Ids] = []
    for start in range(0, size.shards, at_once):
        some = names[start : start + at_once]
        own = np.sort(rng.integers(1, 2**63 - 1, (len(some), size.images_per_shard)), axis=1)
        ids.append(own.ravel())
        for table, rows, place in tables_of(some, own, size, rng):
            put(store, table, rows, some, place)
        print(f"{folder.name}: {start + len(some):,} shards", file=sys.stderr, flush=True)
    record = Round(STAGE, 1, ImageIds(np.concatenate(ids)), "retrained", "m", "m", RoundMetrics(masks=size.masks))
    store.put_round(record)
    done.write_text("", encoding="utf-8")
    return folder


def outcomes(store: Store, *, with_keys: bool = True) -> list[ShardOutcome]:
    """Of the round of all images, as its workers gave them."""
    return [ShardOutcome(shard, 0, skipped=True, key=key_of(shard) if with_keys else "") for shard in store.shards()]


def key_of(shard: str) -> str:
    return content_key("synthetic", shard)


def put(store: Store, table: str, rows: pa.Table, shards: Sequence[str], place: Mapping[str, Any]) -> None:
    """Rows of many shards in one commit that says of each that it is done, as one commit a shard would."""
    sharded = store._tables[table]
    transactions = [
        Transaction("/".join(f"{key}={value}" for key, value in ({"shard": shard} | dict(place)).items()), number)
        for shard in shards
        for number in [int(key_of(shard), 16)]
    ]
    properties = CommitProperties(app_transactions=transactions)
    write_deltalake(
        sharded._latest(), rows, mode="append", writer_properties=sharded._writer, commit_properties=properties
    )


def tables_of(
    shards: Sequence[str], ids: Ids, size: Size, rng: np.random.Generator
) -> Iterator[tuple[str, pa.Table, dict[str, Any]]]:
    """Table, rows, and the place that they are committed under."""
    round_1 = {"stage": STAGE, "round": 1}
    yield "images", images(shards, ids, rng), {}
    generated = generation(shards, ids, size)
    yield "generation", generated, round_1
    one = generation_sums(generated.slice(0, size.images_per_shard))
    sums = ShardSums(masks=size.images_per_shard * size.masks_per_image, generation=one).to_json()
    keys = pa.array([key_of(shard) for shard in shards])
    names = pa.array(shards)
    yield "shard_sums", rows_of("shard_sums", len(shards), shard=names, key=keys, sums=sums, **round_1), round_1
    yield STAGE, masks(shards, ids, size, rng), {"round": 1}


def images(shards: Sequence[str], ids: Ids, rng: np.random.Generator) -> pa.Table:
    truth = rng.random(ids.size) < 0.02
    held_out = truth & (rng.random(ids.size) < 0.1)
    return rows_of(
        "images",
        ids.size,
        image_id=ids.ravel(),
        shard=np.repeat(np.array(shards), ids.shape[1]),
        path="images/one.png",
        source=pa.array(np.char.add(ids.ravel().astype(str), ".jpg")),
        height=_HW[0],
        width=_HW[1],
        split=np.where(held_out, "holdout", "train"),
        has_ground_truth=truth,
    )


def masks(shards: Sequence[str], ids: Ids, size: Size, rng: np.random.Generator) -> pa.Table:
    count = ids.size * size.masks_per_image
    lengths = rng.integers(_RLE_BYTES // 2, _RLE_BYTES * 3 // 2, count)
    data = rng.integers(48, 112, int(lengths.sum()), dtype=np.uint8)
    boxes = (rng.random(count * 4) * 1000).astype(np.float32)
    point = pa.StructArray.from_arrays(
        [pa.array(boxes[:count]), pa.array(boxes[count : 2 * count]), pa.array(np.ones(count, dtype=np.int8))],
        names=["x", "y", "label"],
    )
    return rows_of(
        STAGE,
        count,
        mask_id=rng.integers(1, 2**63 - 1, count),
        image_id=np.repeat(ids.ravel(), size.masks_per_image),
        shard=np.repeat(np.array(shards), ids.shape[1] * size.masks_per_image),
        stage=STAGE,
        round=1,
        rle=pa.BinaryArray.from_buffers(pa.binary(), count, [None, offsets(lengths), pa.py_buffer(data)]),
        height=_HW[0],
        width=_HW[1],
        area=rng.integers(100, 10**6, count),
        bbox=pa.ListArray.from_arrays(pa.array(np.arange(0, 4 * count + 1, 4, dtype=np.int32)), pa.array(boxes)),
        origin="automatic",
        annotator="generator",
        model_id="0123456789abcdef",
        generator_config="fedcba98",
        points=pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32)), point),
        predicted_iou=rng.random(count).astype(np.float32),
        stability_score=rng.random(count).astype(np.float32),
    )


def offsets(lengths: npt.NDArray[np.int64]) -> pa.Buffer:
    return pa.py_buffer(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def generation(shards: Sequence[str], ids: Ids, size: Size) -> pa.Table:
    return rows_of(
        "generation",
        ids.size,
        image_id=ids.ravel(),
        shard=np.repeat(np.array(shards), ids.shape[1]),
        stage=STAGE,
        round=1,
        model_id="0123456789abcdef",
        generator_config="fedcba98",
        masks=size.masks_per_image,
        dropped='{"area": 1, "box_nms": 700, "predicted_iou": 900}',
        seconds='{"decode_image": 0.01, "encode": 0.2, "prompt_decode": 1.3}',
        coverage_frac=0.8,
    )


def rows_of(table: str, count: int, **columns: Any) -> pa.Table:
    """Rows of a table from arrays, or from what is the same in all; empty where a column is not given."""
    made = []
    for field in TABLES[table]:
        value = columns.get(field.name)
        if isinstance(value, np.ndarray | pa.Array):
            made.append((value if isinstance(value, pa.Array) else pa.array(value)).cast(field.type))
        elif value is None and pa.types.is_list(field.type):
            made.append(pa.array([[]], field.type).take(pa.array(np.zeros(count, dtype=np.int64))))
        else:
            empty = {pa.string(): "", pa.binary(): b""}.get(field.type, 0)
            made.append(pa.repeat(pa.scalar(empty if value is None else value, field.type), count))
    return pa.table(made, schema=TABLES[table])
