"""What a model is trained on: masks of the store at exact table versions, chosen by an explicit rule."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from engine.hard_examples import hard_masks_of
from engine.images import decode_image_file, read_original
from engine.selected_masks import MaskReader, SelectedMasks
from engine.store import Store
from model.training.augment import never_shown
from model.training.config import TrainingConfig
from model.training.samples import Sample
from schemas.image_ids import ImageIds
from schemas.rle import Rle
from schemas.stages import STAGES, Stage

Selection = Literal["new_only", "accumulated"]

_AREA_COLUMNS = ["area", "height", "width"]
_HELD_SHARDS = 64  # whose pictures' paths are kept for the next sample


class SnapshotDataset:
    """Training samples, one per image and stage, sorted by stage and image id.

    Holds a few bytes a sample. Masks are read a shard at a time, and those of the last shards are kept; pictures are
    opened one by one. Reading a sample asks no table, so it works in loader processes too. `weights` tells how often
    each sample should come; `groups` which ones lie in one file; `longest_px` how large a picture's longest side is
    needed: larger ones may be decoded at a fraction of their size.
    """

    longest_px: int | None = None

    def __init__(self, selected: SelectedMasks, store: Store, rule: dict[str, Any]) -> None:
        """rule: see `lineage`."""
        self._stages, self._ids, self._shards, self._counts = selected.samples()
        self._names = selected.index.shards
        self._selected = selected
        self._masks = MaskReader(selected.tables, selected.rounds)
        self._paths: LRUCache[str, dict[int, str]] = LRUCache(_HELD_SHARDS)
        self._images = store.files_at("images", rule["versions"]["images"])
        self._files = store.files
        self._rule = rule
        self._bit_depth = store.bit_depth
        oversampling = np.array([float(rule["oversampling"].get(stage, 1.0)) for stage in STAGES])
        self._weights: npt.NDArray[np.float64] = oversampling[self._stages]
        self.groups: npt.NDArray[np.int32] = self._stages.astype(np.int32) * len(self._names) + self._shards

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which read samples and nothing else."""
        return {name: value for name, value in vars(self).items() if name != "_selected"}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def weights(self) -> list[float]:
        """(N,) how often each sample should come, relative to others."""
        found: list[float] = self._weights.tolist()
        return found

    @property
    def image_ids(self) -> list[int]:
        """(N,)"""
        found: list[int] = self._ids.tolist()
        return found

    @property
    def stages(self) -> list[Stage]:
        """(N,)"""
        return [STAGES[index] for index in self._stages]

    def __getitem__(self, index: int) -> Sample:
        """The picture and its masks of one stage. Raises InputError if its file is gone or was changed."""
        image_id, shard = int(self._ids[index]), self._names[self._shards[index]]
        file = self._files.picture(self._path(shard, image_id))
        decoded = decode_image_file(
            read_original(file, image_id),
            name=str(file),
            max_megapixels=float("inf"),
            longest_px=self.longest_px,
            bit_depth=self._bit_depth,
        )
        rows = self._masks.of_image(STAGES[self._stages[index]], shard, image_id)
        return Sample(decoded.pixels, [Rle.of_row(row).coco() for row in rows], f"image {image_id}")

    def favour(self, hard: npt.NDArray[np.int64], weight: float) -> None:
        """Let samples come more often by the share of their masks that are hard, `weight` times where all are.

        hard: (N,) how many masks of each sample are.
        """
        self._weights *= 1 + (weight - 1) * (hard / self._counts)

    def left_out(self, config: TrainingConfig, *, side_px: int) -> dict[str, int]:
        """How many masks no step ever learns from, since they cover too little of its input or too much of a picture.

        side_px: of the model's input. See `model.training.augment.never_shown`. Reads three columns of all masks.
        """
        found = {"too_small": 0, "too_large": 0}
        for _, _, rows in self._selected.each(_AREA_COLUMNS):
            areas, height, width = (rows[name].to_numpy().astype(np.float64) for name in _AREA_COLUMNS)
            too_small, too_large = never_shown(areas, height, width, config, side_px=side_px)
            found["too_small"] += int(too_small.sum())
            found["too_large"] += int(too_large.sum())
        return found

    def lineage(self) -> dict[str, Any]:
        """For the model card: table versions, the rule, and how many different images and masks it came to."""
        return {**self._rule, "images": len(np.unique(self._ids)), "masks": int(self._counts.sum())}

    def hard_counts(self, store: Store) -> npt.NDArray[np.int64]:
        """(N,) how many masks of each sample were hard to make."""
        hard = hard_masks_of(store, self._selected)
        counts = Counter(zip(hard["stage_index"].to_pylist(), hard["image_id"].to_pylist(), strict=True))
        samples = zip(self._stages.tolist(), self._ids.tolist(), strict=True)
        return np.array([counts[sample] for sample in samples], dtype=np.int64)

    def _path(self, shard: str, image_id: int) -> str:
        """Of the picture, as its row of `images` has it."""
        if shard not in self._paths:
            rows = self._images.read(shard, ["image_id", "path"])
            self._paths[shard] = dict(zip(rows["image_id"].to_pylist(), rows["path"].to_pylist(), strict=True))
        return self._paths[shard][image_id]


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
    rounds = _wanted(selection, stage, round)
    tables = {name: store.files_at(name, tables_versions[name]) for name in rounds if name in tables_versions}
    index = store.image_index(tables_versions["images"])
    allowed = ~index.held_out
    allowed[index.places_of(ImageIds(without))] = False
    rule = {
        "versions": {name: tables_versions[name] for name in ("images", *STAGES) if name in tables_versions},
        "selection": selection,
        "stage": stage or "",
        "round": round or 0,
        "oversampling": oversampling,
    }
    weighted = rule if hard_weight == 1 else {**rule, "hard_weight": hard_weight}
    samples = SnapshotDataset(SelectedMasks(tables, rounds, index, allowed), store, weighted)
    if hard_weight != 1 and len(samples):
        samples.favour(samples.hard_counts(store), hard_weight)
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
