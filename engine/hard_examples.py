"""Which masks were hard to make: those that took people long, and those that came in place of what a gate rejected."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.quality.returned import masks_shown_again, returned_images
from engine.selected_masks import SelectedMasks
from engine.store import Store
from schemas.stages import STAGES, Stage

HARD_COLUMNS = ("seconds", "origin")  # that a masks table needs here beside those of its samples
_LONG = 1.4  # times the mean of the round: of times that scatter as people's do, a quarter


def hard_masks(store: Store, masks: pa.Table) -> npt.NDArray[np.bool_]:
    """(N,) of N rows of masks tables, columns stage_index, image_id, round, rle and HARD_COLUMNS.

    Hard is a mask that people made or mended in _LONG times the mean seconds of such masks of its round, or more; and
    one of an image that a gate sent back, made since then: not those that the image came back with, which were good.
    """
    return took_long(masks) | _made_after_a_return(store, masks)


def hard_masks_of(store: Store, selected: SelectedMasks) -> pa.Table:
    """Of the masks selected those that are hard (stage_index, shard, image_id); only masks that may be so are in
    memory."""
    returned = pa.array(sorted({image.image_id for image in returned_images(store)}), pa.int64())
    parts = [
        _candidates(selected, stage, shard, rows, returned)
        for stage, shard, rows in selected.each(["mask_id", *HARD_COLUMNS])
    ]
    masks = pa.concat_tables(part for part in parts if len(part)) if any(map(len, parts)) else None
    if masks is None:
        none = {"stage_index": pa.int8(), "shard": pa.string(), "image_id": pa.int64()}
        return pa.table({name: pa.array([], kind) for name, kind in none.items()})
    masks = masks.sort_by([(name, "ascending") for name in ("stage_index", "image_id", "mask_id")])
    return masks.filter(pa.array(hard_masks(store, masks))).select(["stage_index", "shard", "image_id"])


def _candidates(selected: SelectedMasks, stage: Stage, shard: str, rows: pa.Table, returned: pa.Array) -> pa.Table:
    """Masks that people made, and those of images that came back, which alone have an RLE."""
    back = pc.is_in(rows["image_id"], value_set=returned)
    rows = rows.filter(pc.or_(back, pc.and_(pc.not_equal(rows["origin"], "automatic"), pc.greater(rows["seconds"], 0))))
    counts: dict[int, bytes] = {}
    if pc.any(back).as_py():
        found = selected.tables[stage].read(shard, ["mask_id", "image_id", "rle"])
        found = found.filter(pc.is_in(found["image_id"], value_set=returned))
        counts = dict(zip(found["mask_id"].to_pylist(), found["rle"].to_pylist(), strict=True))
    rle = pa.array([counts.get(mask_id, b"") for mask_id in rows["mask_id"].to_pylist()], pa.large_binary())
    stages = pa.array(np.full(len(rows), STAGES.index(stage), dtype=np.int8))
    shards = pa.repeat(pa.scalar(shard, pa.string()), len(rows))
    return rows.append_column("rle", rle).append_column("stage_index", stages).append_column("shard", shards)


def took_long(masks: pa.Table) -> npt.NDArray[np.bool_]:
    """(N,) whether people spent far longer on a mask than on others of its round: clicks, edits and drawing are time.

    The mean is the geometric one, which an annotator who went for a coffee hardly moves. Where nearly all masks took as
    long as each other, none is hard.
    """
    seconds = masks["seconds"].to_numpy().astype(np.float64)
    by_people = (masks["origin"].to_numpy(zero_copy_only=False) != "automatic") & (seconds > 0)
    long = np.zeros(len(masks), dtype=bool)
    rounds = np.stack([masks["stage_index"].to_numpy(), masks["round"].to_numpy()], axis=1)
    for one in np.unique(rounds[by_people], axis=0):
        here = by_people & (rounds == one).all(1)
        long |= here & (seconds >= _LONG * np.exp(np.log(seconds[here]).mean()))
    return long


def _made_after_a_return(store: Store, masks: pa.Table) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(masks), dtype=bool)
    returned = returned_images(store)
    if not returned:
        return found
    image_ids, stages, rounds = (masks[name].to_numpy() for name in ("image_id", "stage_index", "round"))
    for image in returned:
        stage = STAGES.index(image.stage)
        later = (stages > stage) | ((stages == stage) & (rounds > image.round))
        places = np.flatnonzero((image_ids == image.image_id) & later)
        good = {row["rle"] for row in masks_shown_again(store, image)}
        for place, rle in zip(places, masks["rle"].take(places).to_pylist(), strict=True):
            found[place] |= rle not in good
    return found
