"""The worker that does one shard of a round: the same in this process, in a thread of a flow or on another machine."""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.analysis.sums import ShardSums
from engine.image_index import ImageIndex
from engine.keys import content_key, work_key
from engine.store import Store
from engine.workspace import Workspace
from model.devices import device_of
from model.registry import ModelInfo
from model.sam import Sam
from model.storage import load_model
from schemas.config import EngineConfig
from schemas.errors import InputError
from schemas.image_ids import ImageIds
from schemas.round_metrics import RoundMetrics
from schemas.stages import Stage
from schemas.tables import Round, table_of
from stages.progress import Progress, silent
from stages.records import ShardRows
from stages.shards import ShardOutcome
from stages.unreadable import check_unreadable

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


class _Pace:
    """How quick pictures are worked on here, and how long they were waited for."""

    def __init__(self) -> None:
        self.pictures = 0
        self._waited_s = 0.0
        self._began: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        started = time.perf_counter()
        self._began = self._began or started
        yield
        self._waited_s += time.perf_counter() - started

    def __str__(self) -> str:
        """For a bar or a log; "" before the first picture."""
        if not self.pictures or self._began is None:
            return ""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        return f"{self.pictures / seconds:.3g} img/s  waiting for data {self._waited_s / seconds:.0%}"


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
        self._unreadable: dict[int, str] = {}
        self._pace = _Pace()

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
    def images_by_shard(self) -> Mapping[str, list[int]]:
        return images_by_shard(self.store, self.record.image_ids)

    def __call__(self, shard: str) -> ShardOutcome:
        image_ids = self.images_of(shard)
        found = self.store.committed(self.stage, shard, round=self.round)
        if found is not None and self._is_done(shard, found):
            self.count(len(image_ids))
            return ShardOutcome(shard, len(image_ids), skipped=True, key=found)
        return self._do(shard, image_ids)

    def images_of(self, shard: str) -> list[int]:
        return self.images_by_shard[shard]

    def try_images(self, shard: str, image_ids: Sequence[int]) -> None:
        self.make_rows(shard, image_ids)

    def leave_out(self, shard: str, image_ids: Sequence[int]) -> ShardOutcome:
        """Commit the shard without these images, under the key of the whole: equal inputs would kill again."""
        left = [image_id for image_id in self.images_of(shard) if image_id not in set(image_ids)]
        return self._do(shard, left, left_out=image_ids)

    def pictures(self, image_ids: Sequence[int]) -> Iterator[Picture]:
        """Load images one by one, each while the one before is worked on; each counts as done when the next is asked
        for. One that cannot be read is left out."""
        with ThreadPoolExecutor(max_workers=1) as reader:
            reading = [reader.submit(self._read, image_id) for image_id in image_ids[:1]]
            for following in range(1, len(image_ids) + 1):
                with self._pace.waiting():
                    picture = reading.pop().result()
                reading += [reader.submit(self._read, image_id) for image_id in image_ids[following : following + 1]]
                if picture is not None:
                    yield picture
                self._pace.pictures += 1
                self.count(1)

    def _read(self, image_id: int) -> Picture | None:
        """None where it cannot be read, which is noted."""
        with self.bearing_unreadable(image_id):
            return self._picture(image_id)
        return None

    def _picture(self, image_id: int) -> Picture:
        started = time.perf_counter()
        pixels = self.store.load_image(image_id)
        return Picture(image_id, pixels, time.perf_counter() - started)

    @contextmanager
    def bearing_unreadable(self, image_id: int) -> Iterator[None]:
        """Note, rather than raise, that the picture cannot be read in the `with` block.

        Raises InputError where that makes more than half of the round's pictures.
        """
        self._unreadable.pop(image_id, None)
        try:
            yield
        except InputError as error:
            self._unreadable[image_id] = str(error)
            self._show(f"left out: {error}")
            check_unreadable(self._title, list(self._unreadable.values()), of=len(self.record.image_ids))

    def count(self, images: int) -> None:
        """Tell the progress that so many more images are done, here or in another process."""
        self._images_done += images
        self._show(str(self._pace))

    def _show(self, note: str) -> None:
        self.progress(self._title, self._images_done, len(self.record.image_ids), note)

    @property
    def _title(self) -> str:
        return f"{self.stage} round {self.round}"

    def key(self, shard: str, unreadable: Collection[int] = ()) -> str:
        """The key of a shard's work: equal keys, equal rows. unreadable: images that have none for that reason."""
        without = ("unreadable", sorted(unreadable)) if unreadable else ()
        return work_key(*self._inputs(shard), *without)

    def _is_done(self, shard: str, found: str) -> bool:
        """Whether the key that was found of a shard is of this work; no more where a picture can be read again."""
        # Workspaces from before work keys were made of JSON hold the other one.
        if found in (self.key(shard), content_key(*self._inputs(shard))):
            return True
        place: dict[str, str | int] = {"stage": self.stage, "round": self.round}
        rows = self.store.read_rows("shard_sums", ["key", "sums"], shard=shard, **place).to_pylist()
        left_out = [ShardSums.from_json(row["sums"]).unreadable for row in rows if row["key"] == found]
        return any(self.key(shard, each) == found and not self.store.intact(each) for each in left_out)

    def _do(self, shard: str, image_ids: Sequence[int], *, left_out: Sequence[int] = ()) -> ShardOutcome:
        rows = self.make_rows(shard, image_ids)
        rows.unreadable = {each: self._unreadable[each] for each in image_ids if each in self._unreadable}
        key = self.key(shard, rows.unreadable)
        self._commit(shard, rows, key, left_out=left_out)
        return ShardOutcome(shard, len(image_ids), skipped=False, key=key, left_out=tuple(left_out))

    def _inputs(self, shard: str) -> tuple[object, ...]:
        record = self.record
        return (
            WORK_VERSION,
            self.stage,
            self.round,
            self.images_by_shard[shard],
            record.model_before,
            self.config.seed,
            *self.settings(shard),
        )

    def _commit(self, shard: str, rows: ShardRows, key: str, *, left_out: Sequence[int] = ()) -> None:
        """Masks last: once they are there the shard counts as done, so all else must be there by then.

        Which images were left out is read from the sums by who closes the round, however often the run began anew.
        """
        masks = table_of(self.stage, list(rows.masks.values()))
        events, generation = table_of("events", rows.events), table_of("generation", rows.generation)
        counted = ShardSums.of(masks, events, generation)
        sums = replace(counted, left_out=list(left_out), unreadable=rows.unreadable).to_json()
        place = {"stage": self.stage, "round": self.round, "shard": shard}
        summed = table_of("shard_sums", [{**place, "key": key, "sums": sums}])
        for table, records in (("events", events), ("generation", generation), ("shard_sums", summed)):
            self.store.replace_shard(table, shard, records, stage=self.stage, round=self.round, key=key)
        given = table_of("annotations", rows.annotations)  # only tools of people have some
        if len(given) or self.store.committed("annotations", shard, stage=self.stage, round=self.round):
            self.store.replace_shard("annotations", shard, given, stage=self.stage, round=self.round, key=key)
        self.store.replace_shard(self.stage, shard, masks, round=self.round, key=key)


def images_by_shard(store: Store, image_ids: Sequence[int]) -> Mapping[str, list[int]]:
    """Image ids grouped by shard, both in order. Raises InputError for an image that the workspace does not have."""
    index, ids = store.image_index(), ImageIds.of(image_ids)
    places = np.sort(index.places_of(ids))
    if len(places) < len(ids):
        for image_id in ids:
            store.shard_of(image_id)  # says which one
    return _ByShard(index, places)


class _ByShard(Mapping[str, list[int]]):
    """Ids are made lists of when a shard is asked for."""

    def __init__(self, index: ImageIndex, places: npt.NDArray[np.int64]) -> None:
        bounds = np.searchsorted(places, index.starts).tolist()
        self._ids = index.ids[places]
        self._bounds = {
            shard: (start, end)
            for shard, start, end in zip(index.shards, bounds[:-1], bounds[1:], strict=True)
            if start < end
        }

    def __getitem__(self, shard: str) -> list[int]:
        start, end = self._bounds[shard]
        found: list[int] = self._ids[start:end].tolist()
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._bounds)

    def __len__(self) -> int:
        return len(self._bounds)
