"""Which images go into which tar, and which masks of an image are released; both follow from table versions alone."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa

from engine.release.choice import COLUMNS, EVERYTHING, Choice, verified_of
from engine.store import Store
from schemas.errors import InputError
from schemas.stages import ANNOTATED_STAGES, STAGES, Stage


class PlannedTar(NamedTuple):
    """A tar and its images, as (shard, image_id) in order."""

    name: str
    images: tuple[tuple[str, int], ...]


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

    def image_ids(self) -> Iterator[tuple[str, list[int]]]:
        """Shards, sorted, each with its images that are chosen, sorted."""
        columns = ["shard", "image_id", "split"]
        rows = self.store.read_table("images", columns=columns, version=self.versions["images"]).to_pylist()
        pairs = [
            (row["shard"], row["image_id"]) for row in rows if self.choice.takes_image(row["image_id"], row["split"])
        ]
        for shard, group in groupby(sorted(pairs), key=itemgetter(0)):
            yield shard, [image_id for _, image_id in group]

    def mask_ids(self, shard: str) -> dict[int, list[int]]:
        """Masks of a shard's images in the order of a release, by image; images without masks are left out."""
        columns = ["image_id", "stage", "round", *COLUMNS]
        tables = [
            self.store.read_shard(stage, shard, columns=columns, version=self.versions[stage]) for stage in self.stages
        ]
        rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in pa.concat_tables(tables).to_pylist():
            rows[row["image_id"]].append(row)
        verified = self.verified(shard)
        found = {image_id: self.chosen(of_image, verified) for image_id, of_image in rows.items()}
        return {image_id: [row["mask_id"] for row in chosen] for image_id, chosen in found.items() if chosen}

    def verified(self, shard: str) -> frozenset[int]:
        """Masks of a shard that were judged good; none where that does not matter."""
        if "questions" not in self.versions:
            return frozenset()
        rows = self.store.read_shard("questions", shard, version=self.versions["questions"]).to_pylist()
        return frozenset(row["mask_id"] for row in rows if verified_of(row))

    def chosen(self, rows: Sequence[dict[str, Any]], verified: frozenset[int]) -> list[dict[str, Any]]:
        """Of the mask rows of one image, those to release, in order."""
        return [row for row in _current(rows) if self.choice.takes_mask(row, verified)]


def plan_tars(snapshot: Snapshot, *, images_per_tar: int) -> tuple[list[PlannedTar], int]:
    """Spread the images that have masks over tars, in the order of shards and ids.

    Returns the tars and the number of chosen images left out because none of their masks is released.
    """
    planned: list[tuple[str, int]] = []
    without_masks = 0
    for shard, image_ids in snapshot.image_ids():
        described = snapshot.mask_ids(shard)
        kept = [(shard, image_id) for image_id in image_ids if image_id in described]
        without_masks += len(image_ids) - len(kept)
        planned += kept
    starts = range(0, len(planned), images_per_tar)
    tars = [
        PlannedTar(f"sa_{number:06d}.tar", tuple(planned[start : start + images_per_tar]))
        for number, start in enumerate(starts)
    ]
    return tars, without_masks


def distinct(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the mask rows of one image, in order, no mask twice.

    A mask that a person accepted as it was stands in the tables of two stages; the earlier row is kept.
    """
    found: dict[bytes, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["rle"], row)
    return list(found.values())


def _current(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of one image, in order, without those of earlier rounds of a stage without annotators."""
    last_round: dict[Stage, int] = {}
    for row in rows:
        if row["stage"] not in ANNOTATED_STAGES:
            last_round[row["stage"]] = max(row["round"], last_round.get(row["stage"], 0))
    current = [row for row in rows if row["round"] == last_round.get(row["stage"], row["round"])]
    return sorted(current, key=lambda row: (STAGES.index(row["stage"]), row["round"], row["mask_id"]))
