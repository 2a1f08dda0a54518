"""The worker that does one shard of a round: the same in this process, in a thread of a flow or on another machine."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.keys import content_key
from engine.store import Store
from engine.workspace import Workspace
from model.devices import device_of
from model.registry import ModelInfo
from model.sam import Sam
from model.storage import load_model
from schemas.config import EngineConfig
from schemas.round_metrics import RoundMetrics
from schemas.stages import Stage
from schemas.tables import Round, table_of
from stages.progress import Progress, silent
from stages.records import ShardRows
from stages.shards import ShardOutcome

# Part of every shard's key: raise it when the same inputs would give other rows.
WORK_VERSION = 1


class Picture(NamedTuple):
    """An image of the workspace. pixels: (H, W, 3) uint8 RGB. decode_s: seconds to read and decode it."""

    image_id: int
    pixels: np.ndarray
    decode_s: float


class Opening(NamedTuple):
    """What is settled when a round is opened: metrics to keep with it, and what to tell people, "" for nothing."""

    metrics: RoundMetrics
    message: str


class ShardWorker(ABC):
    """Does shards of one round: `worker(shard)` makes and commits a shard's rows, or finds them committed.

    It can be pickled; the store is opened and the model loaded in the process that works, once.
    """

    stage: Stage

    def __init__(self, workspace: str | Path | Workspace, round: int, progress: Progress = silent) -> None:
        self.workspace = Workspace(workspace)
        self.round = round
        self.progress = progress
        self._images_done = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.workspace, self.round))

    @classmethod
    def opening(cls, store: Store, config: EngineConfig, model: ModelInfo, progress: Progress) -> Opening:
        """Settle what a new round needs besides its images and model. Raises WaitError where something is missing."""
        return Opening(RoundMetrics(), "")

    @abstractmethod
    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        """The rows of these images of a shard; `pictures` loads them."""

    @abstractmethod
    def settings(self, shard: str) -> Sequence[object]:
        """Everything besides round, images and model that the rows of a shard follow from."""

    def metrics(self) -> dict[str, Any]:
        """What is worth keeping of how the round was done, beside its rows: keys of `RoundMetrics`, or others."""
        return {}

    @cached_property
    def store(self) -> Store:
        return Store(self.workspace)

    @cached_property
    def config(self) -> EngineConfig:
        return self.workspace.settings()

    @cached_property
    def record(self) -> Round:
        return next(record for record in self.store.rounds(self.stage) if record.round == self.round)

    @cached_property
    def sam(self) -> Sam:
        """The model that the round works with. Raises InputError where it is no more."""
        model, device = self.record.model_before, device_of(self.config.model.device)
        return load_model(model, self.workspace.model_roots(), device=device)[0]

    @cached_property
    def images_by_shard(self) -> dict[str, list[int]]:
        return images_by_shard(self.store, self.record.image_ids)

    def __call__(self, shard: str) -> ShardOutcome:
        image_ids = self.images_by_shard[shard]
        key = self.key(shard)
        if self.store.committed(self.stage, shard, round=self.round) == key:
            self._count(len(image_ids))
            return ShardOutcome(shard, len(image_ids), skipped=True)
        self._commit(shard, self.make_rows(shard, image_ids), key)
        return ShardOutcome(shard, len(image_ids), skipped=False)

    def pictures(self, image_ids: Sequence[int]) -> Iterator[Picture]:
        """Load images one by one; each counts as done when the next is asked for."""
        for image_id in image_ids:
            started = time.perf_counter()
            pixels = self.store.load_image(image_id)
            yield Picture(image_id, pixels, time.perf_counter() - started)
            self._count(1)

    def _count(self, images: int) -> None:
        self._images_done += images
        self.progress(f"{self.stage} round {self.round}", self._images_done, len(self.record.image_ids))

    def key(self, shard: str) -> str:
        """The content key of a shard's work: equal keys, equal rows."""
        record = self.record
        return content_key(
            WORK_VERSION,
            self.stage,
            self.round,
            self.images_by_shard[shard],
            record.model_before,
            self.config.seed,
            *self.settings(shard),
        )

    def _commit(self, shard: str, rows: ShardRows, key: str) -> None:
        """Masks last: once they are there the shard counts as done, so all else must be there by then."""
        for table, of_table in (("events", rows.events), ("generation", rows.generation)):
            records = table_of(table, of_table)
            self.store.replace_shard(table, shard, records, stage=self.stage, round=self.round, key=key)
        given = table_of("annotations", rows.annotations)  # only tools of people have some
        if len(given) or self.store.committed("annotations", shard, stage=self.stage, round=self.round):
            self.store.replace_shard("annotations", shard, given, stage=self.stage, round=self.round, key=key)
        masks = table_of(self.stage, list(rows.masks.values()))
        self.store.replace_shard(self.stage, shard, masks, round=self.round, key=key)


def images_by_shard(store: Store, image_ids: Sequence[int]) -> dict[str, list[int]]:
    """Image ids grouped by shard, both in order."""
    grouped: dict[str, list[int]] = {}
    for image_id in sorted(image_ids):
        grouped.setdefault(store.shard_of(image_id), []).append(image_id)
    return dict(sorted(grouped.items()))
