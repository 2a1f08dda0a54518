"""Which images go into which tar, and which masks of an image are released; both follow from table versions alone."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.release.choice import COLUMNS, EVERYTHING, Choice, Ids, verified_of
from engine.store import Store
from engine.table_files import TableFiles
from engine.workspace import Workspace
from schemas.errors import InputError
from schemas.stages import ANNOTATED_STAGES, STAGES, Stage
from schemas.tables import TABLES

_TO_CHOOSE = ("image_id", "stage", "round", *COLUMNS)
_TO_COUNT = ("image_id",)
_NONE = np.zeros(0, dtype=np.int64)


class PlannedTar(NamedTuple):
    """A tar and its images in order, by shards: (shard, ids). Eight bytes an image: all tars fit into memory."""

    name: str
    parts: tuple[tuple[str, "array[int]"], ...]

    @property
    def n_images(self) -> int:
        """How many images it has."""
        return sum(len(ids) for _, ids in self.parts)

    def images(self) -> Iterator[tuple[str, int]]:
        """(shard, image_id) of each."""
        return ((shard, image_id) for shard, ids in self.parts for image_id in ids)


class ShardContents(NamedTuple):
    """What of a shard is released. image_ids: sorted. mask_ids: in the order of the release. without_masks: images that
    are chosen, but none of their masks is."""

    shard: str
    image_ids: Ids
    mask_ids: Ids
    without_masks: int


@dataclass(frozen=True)
class Snapshot:
    """The tables of a store at fixed versions, as far as a release of these stages reads them."""

    store: Store
    stages: tuple[Stage, ...]
    versions: dict[str, int]
    choice: Choice = EVERYTHING

    @classmethod
    def take(
        cls,
        store: Store,
        stages: Sequence[Stage],
        versions: Mapping[str, int] | None = None,
        choice: Choice = EVERYTHING,
    ) -> "Snapshot":
        """The tables now, or at the versions given. Stages are put into the order of the data engine.

        Raises InputError for an unknown stage, or none, and for a version that a table has not had yet.
        """
        unknown = [stage for stage in stages if stage not in store.stages]
        if unknown or not stages:
            known = ", ".join(store.stages)
            raise InputError(f"stages of a release: one or more of {known}, found {unknown or 'none'}")
        ordered = tuple(stage for stage in STAGES if stage in stages)
        there = store.versions()
        found = there if versions is None else versions
        tables = ("images", *ordered, *choice.tables)
        for table in tables:
            if found[table] > there[table]:
                raise InputError(
                    f"{store.files}: the table {table} has versions up to {there[table]}, not {found[table]}: "
                    "that is of another workspace, or this one was put back to an earlier state"
                )
        return cls(store, ordered, {table: found[table] for table in tables}, choice)

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process it goes as a name: there the workspace is opened anew."""
        return _reopened, (self.store.files, self.stages, self.versions, self.choice)

    def contents(self, *, with_mask_ids: bool = True) -> Iterator[ShardContents]:
        """What is released, shard by shard, sorted. Reads the columns of masks that this follows from, and no RLE.

        with_mask_ids=False: they stay empty, and where all masks of a shard are chosen, one column is enough.
        Raises InputError for masks of a picture that the table of images has not.
        """
        with_masks = {shard for stage in self.stages for shard in self._files[stage].names}
        for shard in sorted(with_masks - self._files["images"].names.keys()):
            self._refuse_strays(shard, self.masks(shard, columns=["image_id"])["image_id"].to_numpy(), np.array([]))
        index = self.store.image_index(self.versions["images"])
        held_out = index.held_out
        for shard, there in self._masks_by_shard(_TO_CHOOSE if with_mask_ids else _TO_COUNT, index.shards):
            here = index.slice_of(shard)
            taken = index.ids[here][self.choice.takes_images(index.ids[here], held_out[here])]
            self._refuse_strays(shard, there["image_id"].to_numpy(), index.ids[here])
            if with_mask_ids or not self.choice.takes_every_mask:
                rows = there if with_mask_ids else self.masks(shard, columns=_TO_CHOOSE)
                there = self.chosen(rows, self.verified(shard))
            of_image = there["image_id"].to_numpy()
            image_ids = taken[np.isin(taken, of_image)]
            mask_ids = there["mask_id"].to_numpy()[np.isin(of_image, taken)] if with_mask_ids else _NONE
            yield ShardContents(shard, image_ids, mask_ids, len(taken) - len(image_ids))

    def _masks_by_shard(self, columns: Sequence[str], shards: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        """As `masks`, of each of these shards, sorted; a few are read at once."""
        none = self.masks("", columns=columns)
        parts = merge(
            ((shard, none) for shard in shards),
            *(self._files[stage].each(columns) for stage in self.stages),
            key=itemgetter(0),
        )
        for shard, own in groupby(parts, key=itemgetter(0)):
            yield shard, pa.concat_tables([rows for _, rows in own])

    def _refuse_strays(self, shard: str, of_masks: Ids, of_images: Ids) -> None:
        strays = np.setdiff1d(of_masks, of_images)
        if len(strays):
            raise InputError(
                f"{self.store.files}: shard {shard} has masks of {len(strays)} pictures that the table images has not, "
                f"such as {strays[0]}; add these pictures again with sam-engine ingest, then build the release"
            )

    def images(self, shard: str) -> pa.Table:
        """All rows of a shard's images, sorted by id."""
        return self._files["images"].read(shard, TABLES["images"].names).sort_by("image_id")

    def masks(self, shard: str, *, columns: Sequence[str]) -> pa.Table:
        """Rows of a shard's masks, of all stages of the release."""
        return pa.concat_tables([self._files[stage].read(shard, columns) for stage in self.stages])

    def verified(self, shard: str) -> frozenset[int]:
        """Masks of a shard that were judged good; none where that does not matter."""
        if "questions" not in self.versions:
            return frozenset()
        rows = self._files["questions"].read(shard, TABLES["questions"].names).to_pylist()
        return frozenset(row["mask_id"] for row in rows if verified_of(row))

    def chosen(self, rows: pa.Table, verified: frozenset[int]) -> pa.Table:
        """Of mask rows those to release, by image, in the order of a release.

        Of a stage without annotators only the last round of an image counts.
        """
        if not len(rows):
            return rows
        image, round = rows["image_id"].to_numpy(), rows["round"].to_numpy()
        stage = pc.index_in(rows["stage"], pa.array(STAGES)).to_numpy()
        order = np.lexsort((rows["mask_id"].to_numpy(), round, stage, image))
        image, round, stage = image[order], round[order], stage[order]
        last = np.flatnonzero(np.append((image[1:] != image[:-1]) | (stage[1:] != stage[:-1]), True))
        last_round = np.repeat(round[last], np.diff(last, prepend=-1))
        annotated = np.isin(stage, [STAGES.index(each) for each in ANNOTATED_STAGES])
        kept = (annotated | (round == last_round)) & self.choice.takes_masks(rows, verified)[order]
        return rows.take(pa.array(order[kept]))

    @cached_property
    def _files(self) -> dict[str, TableFiles]:
        """Looked up once: asking a table of thousands of shards for each of them takes longer than reading it."""
        return {table: self.store.files_at(table, version) for table, version in self.versions.items()}


def _reopened(workspace: Workspace, stages: tuple[Stage, ...], versions: dict[str, int], choice: Choice) -> Snapshot:
    return Snapshot(Store(workspace), stages, versions, choice)


def plan_tars(
    snapshot: Snapshot, *, images_per_tar: int, number: Callable[[ShardContents], None] | None = None
) -> tuple[list[PlannedTar], int]:
    """Spread the images that have masks over tars, in the order of shards and ids.

    number: called with the contents of each shard, in order, such as `engine.release.numbers.Numbering`.
    Returns the tars and the number of chosen images left out because none of their masks is released.
    """
    tars: list[PlannedTar] = []
    parts: list[tuple[str, array[int]]] = []
    room, without_masks = images_per_tar, 0
    for contents in snapshot.contents(with_mask_ids=number is not None):
        if number is not None:
            number(contents)
        without_masks += contents.without_masks
        left = contents.image_ids
        while len(left):
            parts.append((contents.shard, array("q", left[:room].tobytes())))
            room, left = room - len(parts[-1][1]), left[room:]
            if not room:
                tars.append(_tar(len(tars), parts))
                room, parts = images_per_tar, []
    return ([*tars, _tar(len(tars), parts)] if parts else tars), without_masks


def _tar(number: int, parts: list[tuple[str, "array[int]"]]) -> PlannedTar:
    return PlannedTar(f"sa_{number:06d}.tar", tuple(parts))


def distinct(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the mask rows of one image, in order, no mask twice.

    A mask that a person accepted as it was stands in the tables of two stages; the earlier row is kept.
    """
    found: dict[bytes, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["rle"], row)
    return list(found.values())
