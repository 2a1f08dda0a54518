"""What a model is trained on: masks of the store at exact table versions, chosen by an explicit rule."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.hard_examples import HARD_COLUMNS, hard_masks
from engine.images import decode_image_file
from engine.places import Place
from engine.store import Store
from model.training.augment import MOST_ENLARGED
from model.training.config import TrainingConfig
from model.training.samples import Sample
from schemas.rle import Rle
from schemas.stages import STAGES, Stage

Selection = Literal["new_only", "accumulated"]

_COLUMNS = ["image_id", "mask_id", "round", "rle", "height", "width", "area"]


class SnapshotDataset:
    """Training samples, one per image and stage, sorted by stage and image id.

    Holds the compressed masks in memory (about 300 bytes each) and opens pictures one by one; reading a sample touches
    no table, so it works in loader processes too. `weights` tells how often each sample should come;
    `longest_px` how large a picture's longest side is needed: larger ones may be decoded at a fraction of their size.
    """

    longest_px: int | None = None

    def __init__(
        self, masks: pa.Table, pictures: Mapping[int, Place], rule: dict[str, Any], *, bit_depth: int | None = None
    ) -> None:
        """masks: columns stage_index and those of `_COLUMNS`, sorted by stage and image. rule: see `lineage`."""
        stages, images = (masks[name].to_numpy() for name in ("stage_index", "image_id"))
        changes = np.flatnonzero((np.diff(stages) != 0) | (np.diff(images) != 0)) + 1
        self._starts = np.concatenate([[0], changes]) if len(masks) else np.zeros(0, dtype=np.int64)
        self._ends = np.append(self._starts[1:], len(masks)) if len(masks) else self._starts
        self._masks = masks
        self._pictures = [pictures[int(image_id)] for image_id in images[self._starts]]
        self.stages: list[Stage] = [STAGES[index] for index in stages[self._starts]]
        self.image_ids: list[int] = [int(image_id) for image_id in images[self._starts]]
        self.weights: list[float] = [float(rule["oversampling"].get(stage, 1.0)) for stage in self.stages]
        self._rule = rule
        self._bit_depth = bit_depth

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Sample:
        """The picture and its masks of one stage. Raises InputError if its file is gone."""
        decoded = decode_image_file(
            self._pictures[index],
            max_megapixels=float("inf"),
            longest_px=self.longest_px,
            bit_depth=self._bit_depth,
        )
        rows = self._masks.slice(self._starts[index], self._ends[index] - self._starts[index])
        masks = rows.select(["rle", "height", "width"]).to_pylist()
        return Sample(decoded.pixels, [Rle.of_row(row).coco() for row in masks])

    def favour(self, hard: npt.NDArray[np.bool_], weight: float) -> None:
        """Let samples come more often by the share of their masks that are hard, `weight` times where all are.

        hard: (N,) of all masks, in their order.
        """
        for index, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            self.weights[index] *= 1 + (weight - 1) * float(hard[start:end].mean())

    def left_out(self, config: TrainingConfig, *, side_px: int) -> dict[str, int]:
        """How many masks no step ever learns from, since they cover too little of its input or too much of a picture.

        side_px: of the model's input. too_small: under `min_mask_frac` of it even where they are shown largest.
        too_large: over `max_mask_frac` of their picture.
        """
        areas = self._masks["area"].to_numpy().astype(np.float64)
        height, width = (self._masks[name].to_numpy().astype(np.float64) for name in ("height", "width"))
        enlarged = config.scale_range[1] * side_px / np.maximum(height, width)
        if config.zoom_prob:
            enlarged = np.maximum(enlarged, MOST_ENLARGED)
        shown = areas * enlarged**2 / side_px**2
        too_large = areas > config.max_mask_frac * height * width
        return {
            "too_small": int(((shown <= config.min_mask_frac) & ~too_large).sum()),
            "too_large": int(too_large.sum()),
        }

    def lineage(self) -> dict[str, Any]:
        """For the model card: table versions, the rule, and how many different images and masks it came to."""
        return {**self._rule, "images": len(set(self.image_ids)), "masks": len(self._masks)}


def training_samples(
    store: Store,
    *,
    tables_versions: Mapping[str, int],
    selection: Selection,
    stage: Stage | None = None,
    round: int | None = None,
    oversampling: Mapping[Stage, float] | None = None,
    hard_weight: float = 1.0,
    without: Collection[int] = (),
) -> SnapshotDataset:
    """Select masks to train on; images that are held out never come, nor do those of the ids in `without`.

    tables_versions: of `images` and the stages' tables, as from Store.versions. selection: `accumulated` takes the
    stages up to `stage`, and of that stage the rounds up to `round` (all where None); `new_only` takes one round alone.
    oversampling: how often a stage's samples come, relative to 1. hard_weight: how often one does of which all masks
    were hard to make (`engine.hard_examples`), relative to one without such.
    Raises ValueError if `new_only` is not told stage and round, or if a weight is not above 0.
    """
    oversampling = dict(oversampling or {})
    if any(weight <= 0 for weight in (*oversampling.values(), hard_weight)):
        raise ValueError(f"oversampling weights must be above 0: {oversampling}, hard {hard_weight}")
    images = store.read_table("images", columns=["image_id", "path", "split"], version=tables_versions["images"])
    images = images.filter(pc.equal(images["split"], "train"))
    if without:
        aside = pa.array(sorted(without), type=pa.int64())
        images = images.filter(pc.invert(pc.is_in(images["image_id"], value_set=aside)))
    # Those that tell hard masks are read where they count: a column of a billion masks is memory.
    columns = _COLUMNS if hard_weight == 1 else [*_COLUMNS, *HARD_COLUMNS]
    parts = [
        _masks_of(store, name, tables_versions[name], images["image_id"], rounds, columns)
        for name, rounds in _wanted(selection, stage, round).items()
        if name in tables_versions
    ]
    masks = pa.concat_tables(parts).sort_by([(name, "ascending") for name in ("stage_index", "image_id", "mask_id")])
    pictures = {row["image_id"]: store.picture(row) for row in images.select(["image_id", "path"]).to_pylist()}
    rule = {
        "versions": {name: tables_versions[name] for name in ("images", *STAGES) if name in tables_versions},
        "selection": selection,
        "stage": stage or "",
        "round": round or 0,
        "oversampling": oversampling,
    }
    weighted = rule if hard_weight == 1 else {**rule, "hard_weight": hard_weight}
    samples = SnapshotDataset(masks, pictures, weighted, bit_depth=store.bit_depth)
    if hard_weight != 1 and len(samples):
        samples.favour(hard_masks(store, masks), hard_weight)
    return samples


def _wanted(selection: Selection, stage: Stage | None, round: int | None) -> dict[Stage, range | None]:
    """Stages to read, with the rounds to take of each; None for all."""
    if selection == "new_only":
        if stage is None or round is None:
            raise ValueError("new_only takes the masks of one round: give stage and round")
        return {stage: range(round, round + 1)}
    if stage is None:
        return dict.fromkeys(STAGES)
    before: dict[Stage, range | None] = dict.fromkeys(STAGES[: STAGES.index(stage)])
    return {**before, stage: None if round is None else range(round + 1)}


def _masks_of(
    store: Store, stage: Stage, version: int, images: pa.ChunkedArray, rounds: range | None, columns: list[str]
) -> pa.Table:
    rows = store.read_table(stage, columns=columns, version=version)
    rows = rows.filter(pc.is_in(rows["image_id"], value_set=images))
    if rounds is not None:
        rows = rows.filter(pc.and_(pc.greater_equal(rows["round"], rounds.start), pc.less(rows["round"], rounds.stop)))
    # Offsets of 32 bits end at 2 GB of masks.
    rows = rows.set_column(rows.schema.get_field_index("rle"), "rle", rows["rle"].cast(pa.large_binary()))
    return rows.append_column("stage_index", pa.array(np.full(len(rows), STAGES.index(stage), dtype=np.int8)))
