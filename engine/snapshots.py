"""What a model is trained on: masks of the store at exact table versions, chosen by an explicit rule."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from engine.hard_examples import hard_masks_of
from engine.image_index import HELD_OUT
from engine.images import decode_image_file, read_original
from engine.selected_masks import Ids, MaskReader, SelectedMasks, minus
from engine.store import Store
from model.training import order
from model.training.augment import never_shown
from model.training.config import TrainingConfig
from model.training.run_weights import RunWeights
from model.training.samples import Sample
from schemas.rle import Rle
from schemas.stages import STAGES, Stage

Selection = Literal["new_only", "accumulated"]

_AREA_COLUMNS = ["area", "height", "width"]
_HELD_SHARDS = 64  # whose pictures' paths, and whose images with masks, are kept for the next sample
_FILE_BY_FILE = "file by file"  # in cards of models whose samples were numbered so


class _Picture(NamedTuple):
    """A row of `images`. learned: whether training may see it."""

    path: str
    learned: bool


class SnapshotDataset:
    """Training samples, one per image and stage.

    As many as are shuffled at once are sorted by stage and image id; more are numbered file by file, and memory goes
    with the files alone. Masks are read a shard at a time, and those of the last shards are kept; pictures are opened
    one by one. Reading a sample asks no table, so it works in loader processes too. `weights` tells how often each
    sample should come; `groups` and `files` which ones lie in one file; `longest_px` how large a picture's longest side
    is needed: larger ones may be decoded at a fraction of their size.
    """

    longest_px: int | None = None

    def __init__(self, selected: SelectedMasks, store: Store, rule: dict[str, Any]) -> None:
        """rule: see `lineage`."""
        self._filed, self._few = selected.samples(few=order.SHUFFLED_AT_ONCE)
        self._names = selected.index.shards
        self._selected = selected
        self._masks = MaskReader(selected.tables, selected.rounds)
        self._left_out = selected.left_out
        self._pictures: LRUCache[str, dict[int, _Picture]] = LRUCache(_HELD_SHARDS)
        self._in_files: LRUCache[int, Ids] = LRUCache(_HELD_SHARDS)
        self._images = store.files_at("images", rule["versions"]["images"])
        self._files = store.files
        self._rule = rule
        self._bit_depth = store.bit_depth
        oversampling = np.array([float(rule["oversampling"].get(stage, 1.0)) for stage in STAGES])
        self._weights: list[float] | RunWeights = (
            RunWeights(self._filed.starts[1:], oversampling[self._filed.stages])
            if self._few is None
            else oversampling[self._few.stages].tolist()
        )

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which read samples and nothing else."""
        return {name: value for name, value in vars(self).items() if name != "_selected"}

    def __len__(self) -> int:
        return int(self._filed.starts[-1])

    @property
    def weights(self) -> Sequence[float]:
        """(N,) how often each sample should come, relative to others."""
        return self._weights

    @property
    def groups(self) -> npt.NDArray[np.int32]:
        """(N,) as `model.training.order.GroupedSource` has them."""
        if self._few is not None:
            return self._few.stages.astype(np.int32) * len(self._names) + self._few.shards
        return np.repeat(np.arange(len(self._filed.stages), dtype=np.int32), np.diff(self._filed.starts))

    @property
    def files(self) -> Ids | None:
        """(F + 1,) as `model.training.order.FiledSource` has them; None of few samples."""
        return self._filed.starts if self._few is None else None

    @property
    def image_ids(self) -> list[int]:
        """(N,); of many samples, all masks are read for it."""
        if self._few is not None:
            found: list[int] = self._few.image_ids.tolist()
            return found
        return [image_id for file in range(len(self._filed.stages)) for image_id in self._ids_in(file).tolist()]

    @property
    def stages(self) -> list[Stage]:
        """(N,)"""
        return [STAGES[index] for index in np.repeat(self._filed.stages, np.diff(self._filed.starts))]

    def __getitem__(self, index: int) -> Sample:
        """The picture and its masks of one stage. Raises InputError if its file is gone or was changed."""
        stage, shard, image_id = self._place(index)
        file = self._files.picture(self._pictures_of(shard)[image_id].path)
        decoded = decode_image_file(
            read_original(file, image_id),
            name=str(file),
            max_megapixels=float("inf"),
            longest_px=self.longest_px,
            bit_depth=self._bit_depth,
        )
        rows = self._masks.of_image(stage, shard, image_id)
        return Sample(decoded.pixels, [Rle.of_row(row).coco() for row in rows], f"image {image_id}")

    def favour_hard(self, store: Store, weight: float) -> None:
        """Let samples come more often by the share of their masks that were hard to make, `weight` times where all
        were."""
        numbers, shares = self._hard_shares(store)
        factors = 1 + (weight - 1) * shares
        if isinstance(self._weights, RunWeights):
            self._weights = self._weights.times(numbers, factors)
        else:
            weights = np.array(self._weights)
            weights[numbers] *= factors
            self._weights = weights.tolist()

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
        found = {**self._rule, "images": self._filed.images, "masks": self._filed.masks}
        return found if self._few is not None else {**found, "order": _FILE_BY_FILE}

    def _hard_shares(self, store: Store) -> tuple[Ids, npt.NDArray[np.float64]]:
        """Numbers, rising, of the samples with masks that were hard to make, and which share of their masks was."""
        files = zip(self._filed.stages.tolist(), self._filed.shards.tolist(), strict=True)
        file_of = {place: file for file, place in enumerate(files)}
        hard = hard_masks_of(store, self._selected)
        counted = Counter(zip(*(hard[name].to_pylist() for name in ("stage_index", "shard", "image_id")), strict=True))
        numbers, shares = [], []
        for (stage, shard), some in groupby(sorted(counted), key=lambda each: each[:2]):
            ids, masks = self._selected.counts(STAGES[stage], shard)
            for place in some:
                at = int(np.searchsorted(ids, place[2]))
                numbers.append(self._number(file_of[stage, self._names.index(shard)], at, place[2]))
                shares.append(counted[place] / int(masks[at]))
        rising = np.argsort(numbers)
        return np.array(numbers, dtype=np.int64)[rising], np.array(shares, dtype=np.float64)[rising]

    def _number(self, file: int, at: int, image_id: int) -> int:
        """Of the sample of an image, which is at a place of a file."""
        if self._few is None:
            return int(self._filed.starts[file]) + at
        stage = self._filed.stages[file]
        first, last = np.searchsorted(self._few.stages, [stage, stage + 1])
        return int(first + np.searchsorted(self._few.image_ids[first:last], image_id))

    def _place(self, index: int) -> tuple[Stage, str, int]:
        """The stage, the shard and the image of a sample."""
        if self._few is not None:
            few = self._few
            return STAGES[few.stages[index]], self._names[few.shards[index]], int(few.image_ids[index])
        file = int(np.searchsorted(self._filed.starts, index, side="right")) - 1
        image_id = int(self._ids_in(file)[index - self._filed.starts[file]])
        return STAGES[self._filed.stages[file]], self._names[self._filed.shards[file]], image_id

    def _ids_in(self, file: int) -> Ids:
        """The images of the samples of a file, as `SelectedMasks` counted them."""
        if file not in self._in_files:
            stage, shard = STAGES[self._filed.stages[file]], self._names[self._filed.shards[file]]
            learned = [image_id for image_id, picture in self._pictures_of(shard).items() if picture.learned]
            ids = self._masks.images(stage, shard)
            ids = minus(ids[np.isin(ids, learned)], self._left_out.get(shard))
            self._in_files[file] = ids
        return self._in_files[file]

    def _pictures_of(self, shard: str) -> dict[int, _Picture]:
        if shard not in self._pictures:
            rows = self._images.read(shard, ["image_id", "path", "split"]).to_pylist()
            self._pictures[shard] = {row["image_id"]: _Picture(row["path"], row["split"] != HELD_OUT) for row in rows}
        return self._pictures[shard]


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
    rule = {
        "versions": {name: tables_versions[name] for name in ("images", *STAGES) if name in tables_versions},
        "selection": selection,
        "stage": stage or "",
        "round": round or 0,
        "oversampling": oversampling,
    }
    weighted = rule if hard_weight == 1 else {**rule, "hard_weight": hard_weight}
    samples = SnapshotDataset(SelectedMasks(tables, rounds, index, index.by_shard(without)), store, weighted)
    if hard_weight != 1 and len(samples):
        samples.favour_hard(store, hard_weight)
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
