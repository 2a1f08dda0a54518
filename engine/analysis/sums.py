"""Sums over the rows of a shard of a round, made when it is committed: to close the round they are added, and its masks
need not be read."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.analysis.generation import generation_sums
from engine.store import Store
from schemas.labeling import SECONDS_PER_MASK_LIMIT
from schemas.mask import GENERATOR
from schemas.stages import Stage

AUTOMATIC = "automatic"
MASK_COLUMNS = ["origin", "annotator", "seconds", "clicks"]
EVENT_COLUMNS = ["kind", "seconds", "annotator"]
GENERATION_COLUMNS = ["masks", "seconds", "dropped", "difference_to_exact"]


@dataclass
class Worked:
    """What the masks took that one annotator made or corrected."""

    masks: int = 0
    seconds: float = 0.0
    clicks: int = 0
    over_limit: int = 0

    def add(self, other: "Worked") -> None:
        self.masks += other.masks
        self.seconds += other.seconds
        self.clicks += other.clicks
        self.over_limit += other.over_limit


@dataclass
class ShardSums:
    """What `engine.analysis.statistics` needs of some rows of a round.

    masks: all. origins: of those that came through a person's hands. worked: by annotator. events: by kind; event_s:
    their seconds; annotators: who did something. generation: a part of `engine.analysis.generation`, None without rows.
    left_out: images that were to have rows and have none, since they take the process down that works on them.
    unreadable: others, since their picture cannot be read, each with the reason.
    """

    masks: int = 0
    origins: Counter[str] = field(default_factory=Counter)
    worked: dict[str, Worked] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)
    event_s: float = 0.0
    annotators: set[str] = field(default_factory=set)
    generation: dict[str, Any] | None = None
    left_out: list[int] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, masks: pa.Table, events: pa.Table, generation: pa.Table) -> Self:
        """Of rows of a masks table, of `events` and of `generation`; the columns named above are enough."""
        by_people = masks.filter(pc.not_equal(masks["annotator"], GENERATOR))
        worked = masks.filter(pc.not_equal(masks["origin"], AUTOMATIC))
        return cls(
            masks=len(masks),
            origins=Counter(by_people["origin"].to_pylist()),
            worked={name: _worked(worked, name) for name in sorted(set(worked["annotator"].to_pylist()))},
            events=Counter(events["kind"].to_pylist()),
            event_s=float(events["seconds"].to_numpy().sum(dtype=np.float64)),
            annotators=set(events["annotator"].to_pylist()),
            generation=generation_sums(generation) if len(generation) else None,
        )

    def add(self, other: "ShardSums") -> None:
        """Take in the sums of other rows of the round."""
        self.masks += other.masks
        self.origins += other.origins
        for name, worked in other.worked.items():
            self.worked.setdefault(name, Worked()).add(worked)
        self.events += other.events
        self.event_s += other.event_s
        self.annotators |= other.annotators
        self.generation = _added(self.generation, other.generation)
        self.left_out += other.left_out
        self.unreadable |= other.unreadable

    def to_json(self) -> str:
        worked = {name: vars(own) for name, own in self.worked.items()}
        return json.dumps(vars(self) | {"worked": worked, "annotators": sorted(self.annotators)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """As `to_json` wrote them."""
        found = json.loads(text)
        found["origins"], found["events"] = Counter(found["origins"]), Counter(found["events"])
        found["worked"] = {name: Worked(**worked) for name, worked in found["worked"].items()}
        found["unreadable"] = {int(image_id): why for image_id, why in found.get("unreadable", {}).items()}
        return cls(**found | {"annotators": set(found["annotators"])})


def sums_of_shards(store: Store, stage: Stage, round: int, keys: dict[str, str]) -> Iterator[ShardSums]:
    """The sums of shards, each committed with the key given; those that have none of this key are counted now."""
    place: dict[str, str | int] = {"stage": stage, "round": round}
    kept = store.read_rows("shard_sums", ["shard", "key", "sums"], **place).to_pylist()
    known = {row["shard"]: row["sums"] for row in kept if keys.get(row["shard"]) == row["key"]}
    for shard in keys:
        yield ShardSums.from_json(known[shard]) if shard in known else _counted(store, shard, place)


def _counted(store: Store, shard: str, place: dict[str, str | int]) -> ShardSums:
    return ShardSums.of(
        store.read_rows(str(place["stage"]), MASK_COLUMNS, shard=shard, **place),
        store.read_rows("events", EVENT_COLUMNS, shard=shard, **place),
        store.read_rows("generation", GENERATION_COLUMNS, shard=shard, **place),
    )


def _worked(masks: pa.Table, annotator: str) -> Worked:
    own = masks.filter(pc.equal(masks["annotator"], annotator))
    seconds = own["seconds"].to_numpy()
    return Worked(
        masks=len(own),
        seconds=float(seconds.sum(dtype=np.float64)),
        clicks=int(own["clicks"].to_numpy().sum(dtype=np.int64)),
        over_limit=int((seconds > SECONDS_PER_MASK_LIMIT).sum()),
    )


def _added(one: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any] | None:
    """Sums of generation: numbers and lists add, of dictionaries the values of each key."""
    if one is None or other is None:
        return one or other
    return {
        name: _added(one.get(name), value) if isinstance(value, dict) else one.get(name, type(value)()) + value
        for name, value in {**one, **other}.items()
        if name in other
    } | {name: value for name, value in one.items() if name not in other}
