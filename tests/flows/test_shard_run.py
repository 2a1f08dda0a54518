"""Shards over actors that die, hang and kill: each is done once, and what cannot be done is named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.shard_run import ActorDiedError, ShardRun
from schemas.errors import InputError
from stages.shards import ShardOutcome


@dataclass
class Actor:
    number: int
    slow: bool = False


@dataclass(eq=False)
class Call:
    actor: Actor
    do: Callable[[], Any]
    ends_at: float
    dies: bool = False


@dataclass
class SimulatedActors:
    """A pool on a clock of its own. deaths: numbers of calls at which the actor dies. slow: numbers of slow actors."""

    work: Any
    size: int = 2
    deaths: frozenset[int] = frozenset()
    slow: frozenset[int] = frozenset()
    now: float = 0.0
    calls: list[tuple[int, str, tuple[Any, ...]]] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made = 0
        self.free: list[Actor] = []
        self.open: list[Call] = []
        for _ in range(self.size):
            self._add()

    def _add(self) -> None:
        self.free.append(Actor(self.made, self.made in self.slow))
        self.made += 1

    def idle(self) -> Actor | None:
        return self.free.pop(0) if self.free else None

    def start(self, actor: Actor, method: str, *arguments: Any) -> Call:
        number = len(self.calls)
        self.calls.append((actor.number, method, arguments))
        call = Call(
            actor,
            lambda: getattr(self.work, method)(*arguments),
            self.now + (1000.0 if actor.slow else 10.0),
            number in self.deaths,
        )
        self.open.append(call)
        return call

    def wait(self, calls: Sequence[Call], *, timeout_s: float) -> Sequence[Call]:
        ended = [call for call in calls if call.ends_at <= self.now]
        if not ended:
            self.now += timeout_s
        return ended[:1]

    def result(self, call: Call) -> Any:
        self.open.remove(call)
        if call.dies:
            raise ActorDiedError("killed")
        found = call.do()
        self.free.append(call.actor)
        return found

    def drop(self, actor: Actor) -> None:
        self.open = [call for call in self.open if call.actor is not actor]
        self.dropped.append(actor.number)
        self._add()


@dataclass
class Work:
    """Shards of numbered images, some of which take the process down."""

    images: dict[str, list[int]]
    killers: frozenset[int] = frozenset()
    committed: dict[str, list[int]] = field(default_factory=dict)

    def _make(self, image_ids: Sequence[int]) -> None:
        if self.killers & set(image_ids):
            raise ActorDiedError("segmentation fault")

    def __call__(self, shard: str) -> ShardOutcome:
        return self.leave_out(shard, ())

    def images_of(self, shard: str) -> Sequence[int]:
        return self.images[shard]

    def try_images(self, shard: str, image_ids: Sequence[int]) -> None:
        self._make(image_ids)

    def leave_out(self, shard: str, image_ids: Sequence[int]) -> ShardOutcome:
        left = [each for each in self.images[shard] if each not in image_ids]
        self._make(left)
        self.committed[shard] = left
        return ShardOutcome(shard, len(left), skipped=False, left_out=tuple(image_ids))


def run(actors: SimulatedActors, shards: Sequence[str]) -> tuple[list[ShardOutcome], list[str]]:
    told: list[str] = []
    outcomes = ShardRun(actors, actors.work, lambda outcome: told.append(outcome.shard), lambda: actors.now)(shards)
    return outcomes, told


SHARDS = [f"{number:06d}" for number in range(5)]


def of_ten() -> dict[str, list[int]]:
    return {shard: list(range(10 * number, 10 * number + 10)) for number, shard in enumerate(SHARDS)}


def test_every_shard_is_done_once_and_told() -> None:
    actors = SimulatedActors(Work(of_ten()))
    outcomes, told = run(actors, SHARDS)
    assert [outcome.shard for outcome in outcomes] == SHARDS
    assert sorted(told) == SHARDS
    assert [arguments for _, _, arguments in actors.calls] == [(shard,) for shard in SHARDS]
    assert {number for number, _, _ in actors.calls} == {0, 1}


def test_no_shards_no_work() -> None:
    assert run(SimulatedActors(Work({})), []) == ([], [])


@given(st.frozensets(st.integers(0, 60), max_size=1), st.frozensets(st.integers(0, 49), max_size=4), st.integers(1, 4))
def test_only_images_that_kill_are_left_out_whatever_else_dies(
    deaths: frozenset[int], killers: frozenset[int], size: int
) -> None:
    work = Work(of_ten(), killers)
    outcomes, told = run(SimulatedActors(work, size, deaths), SHARDS)
    assert sorted(told) == SHARDS
    for outcome in outcomes:
        images = set(work.images[outcome.shard])
        assert set(outcome.left_out) == killers & images
        assert set(work.committed[outcome.shard]) == images - killers
        assert outcome.images == len(images - killers)


def test_a_lost_actor_is_replaced_and_its_shard_done_again() -> None:
    actors = SimulatedActors(Work(of_ten()), deaths=frozenset({1}))
    outcomes, _ = run(actors, SHARDS)
    assert [outcome.left_out for outcome in outcomes] == [()] * 5
    assert actors.dropped == [1]
    assert [arguments for _, method, arguments in actors.calls].count((SHARDS[1],)) == 2


def test_a_shard_that_kills_waits_for_the_others_and_is_halved(caplog: pytest.LogCaptureFixture) -> None:
    actors = SimulatedActors(Work(of_ten(), killers=frozenset({3, 7})))
    outcomes, told = run(actors, SHARDS)
    assert told[-1] == SHARDS[0]
    assert (outcomes[0].left_out, outcomes[0].images) == ((3, 7), 8)
    tries = [arguments[1] for _, method, arguments in actors.calls if method == "try_images"]
    assert tries[:6] == [list(range(10)), [0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4]]
    assert (tries.count([3]), tries.count([4])) == (2, 1), "an image alone is believed to kill when it did it twice"
    assert actors.calls[-1][1:] == ("leave_out", (SHARDS[0], [3, 7]))
    assert f"shard {SHARDS[0]}: left out, since they take their process down: images [3, 7]" in caplog.messages


def test_a_shard_that_died_with_its_node_twice_loses_nothing() -> None:
    actors = SimulatedActors(Work(of_ten()), size=1, deaths=frozenset({0, 5}))
    outcomes, _ = run(actors, SHARDS)
    assert [outcome.left_out for outcome in outcomes] == [()] * 5
    assert [method for _, method, _ in actors.calls[-2:]] == ["try_images", "__call__"]


def test_work_that_cannot_be_split_is_named() -> None:
    def work(shard: str) -> ShardOutcome:
        raise ActorDiedError("out of memory")

    with pytest.raises(InputError, match="shard a took its process down 2 times; look at the log of"):
        run(SimulatedActors(work), ["a"])


def test_what_the_work_raises_comes_through() -> None:
    def work(shard: str) -> ShardOutcome:
        raise InputError(f"{shard}: the disk is full")

    with pytest.raises(InputError, match="a: the disk is full"):
        run(SimulatedActors(work), ["a", "b"])


def test_a_straggler_is_started_twice_and_the_first_counts(caplog: pytest.LogCaptureFixture) -> None:
    actors = SimulatedActors(Work(of_ten()), slow=frozenset({0}))
    outcomes, told = run(actors, SHARDS)
    assert [outcome.shard for outcome in outcomes] == SHARDS
    assert told.count(SHARDS[0]) == 1
    assert [number for number, _, arguments in actors.calls if arguments == (SHARDS[0],)] == [0, 1]
    assert actors.dropped == [0], "the slow one is ended, so that it writes no more"
    assert 60 < actors.now < 100
    assert (
        f"shard {SHARDS[0]} takes long and is started a second time; the first that is done counts" in caplog.messages
    )
