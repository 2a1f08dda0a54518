"""Shards over actors that may die: what was lost is done again, what kills is found, what is slow is doubled."""

import logging
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.errors import InputError
from stages.shards import ShardOutcome, SplittableWork

MAX_DEATHS = 2  # of actors at one shard, until its images are looked at one by one
STRAGGLER_FACTOR = 3.0  # times the median of the shards that are done, until an idle actor starts one once more ...
STRAGGLER_MIN_S = 60.0  # ... and at least so long
_POLL_S = 1.0
_log = logging.getLogger(__name__)


class ActorDiedError(Exception):
    """The process or the node of an actor is gone."""


class Actors(Protocol):
    """A pool of processes that hold the work's function, each with its model loaded once."""

    def idle(self) -> Any | None:
        """An actor that can begin at once, or None while there is none. Raises InputError where none can be started."""
        ...

    def start(self, actor: Any, method: str, *arguments: Any) -> Any:
        """Begin `method` of the function on an idle actor. Returns the call."""
        ...

    def wait(self, calls: Sequence[Any], *, timeout_s: float) -> Sequence[Any]:
        """The calls that have ended, as soon as there is one."""
        ...

    def result(self, call: Any) -> Any:
        """What an ended call gave; its actor is idle again. Raises ActorDiedError, and what the function raised."""
        ...

    def drop(self, actor: Any) -> None:
        """End an actor, dead or at work, and have another one started in its place."""
        ...


@dataclass(frozen=True)
class _Running:
    shard: str
    actor: Any
    started_s: float


@dataclass
class ShardRun:
    """One mapping of work over shards. done: called with the outcome of each shard as it comes in."""

    actors: Actors
    work: Callable[[str], ShardOutcome] | SplittableWork
    done: Callable[[ShardOutcome], None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    _running: dict[Any, _Running] = field(default_factory=dict)
    _outcomes: dict[str, ShardOutcome] = field(default_factory=dict)
    _took_s: list[float] = field(default_factory=list)
    _deaths: Counter[str] = field(default_factory=Counter)

    def __call__(self, shards: Sequence[str]) -> list[ShardOutcome]:
        """The outcomes in the order of `shards`.

        A shard at which MAX_DEATHS actors died waits until the others are done; then its images are halved until those
        that kill are found, the rest of it is committed, and the outcome names them.
        Raises what the work raises, and InputError where a shard kills and cannot be split.
        """
        queue, aside = deque(shards), list[str]()
        while queue or self._running:
            self._fill(queue)
            for call in self.actors.wait(list(self._running), timeout_s=_POLL_S):
                if lost := self._ended(call):
                    (aside if self._deaths[lost] >= MAX_DEATHS else queue).append(lost)
            self._drop_doubled()
        for shard in aside:
            self._finish(shard, self._without_what_kills(shard))
        return [self._outcomes[shard] for shard in shards]

    def _fill(self, queue: deque[str]) -> None:
        """Give every idle actor a shard: the next one, or, where none is left, one that takes too long elsewhere."""
        while (queue or self._slow()) and (actor := self.actors.idle()) is not None:
            shard = queue.popleft() if queue else self._slow()[0]
            if shard in {each.shard for each in self._running.values()}:
                _log.warning("shard %s takes long and is started a second time; the first that is done counts", shard)
            self._running[self.actors.start(actor, "__call__", shard)] = _Running(shard, actor, self.clock())

    def _slow(self) -> list[str]:
        """Shards that run once and take several times as long as others did."""
        if not self._took_s:
            return []
        limit_s = max(STRAGGLER_MIN_S, STRAGGLER_FACTOR * statistics.median(self._took_s))
        copies = Counter(each.shard for each in self._running.values())
        now = self.clock()
        return [
            each.shard for each in self._running.values() if copies[each.shard] == 1 and now - each.started_s > limit_s
        ]

    def _ended(self, call: Any) -> str | None:
        """Take in a call that has ended; returns its shard where that has to be done again."""
        ended = self._running.pop(call, None)
        if ended is None:  # of a shard that another actor finished in the same moment
            return None
        try:
            outcome = self.actors.result(call)
        except ActorDiedError:
            self.actors.drop(ended.actor)
            self._deaths[ended.shard] += 1
            _log.warning("an actor died at shard %s (%d of %d)", ended.shard, self._deaths[ended.shard], MAX_DEATHS)
            again = ended.shard not in self._outcomes and not self._runs(ended.shard)
            return ended.shard if again else None
        if ended.shard not in self._outcomes:
            self._took_s.append(self.clock() - ended.started_s)
            self._finish(ended.shard, outcome)
        return None

    def _runs(self, shard: str) -> bool:
        return any(each.shard == shard for each in self._running.values())

    def _drop_doubled(self) -> None:
        """End actors that still work on what another one has finished."""
        for call, each in list(self._running.items()):
            if each.shard in self._outcomes:
                del self._running[call]
                self.actors.drop(each.actor)

    def _finish(self, shard: str, outcome: ShardOutcome) -> None:
        self._outcomes[shard] = outcome
        self.done(outcome)

    def _without_what_kills(self, shard: str) -> ShardOutcome:
        work = self.work
        if not isinstance(work, SplittableWork):
            raise InputError(f"shard {shard} took its process down {MAX_DEATHS} times; look at the log of its node")
        bad = list(self._killers(shard, work.images_of(shard)))
        if bad:
            _log.warning("shard %s: left out, since they take their process down: images %s", shard, bad)
        for _ in range(MAX_DEATHS):
            try:
                return self._call("leave_out", shard, bad) if bad else self._call("__call__", shard)
            except ActorDiedError:
                continue
        raise InputError(
            f"shard {shard} takes its process down, but not by one image alone; "
            "look at the log of its node, and at its memory"
        )

    def _killers(self, shard: str, image_ids: Sequence[int]) -> Iterable[int]:
        """The images that take a process down, by halves; one alone does it MAX_DEATHS times until it is believed."""
        for _ in range(MAX_DEATHS if len(image_ids) == 1 else 1):
            try:
                self._call("try_images", shard, list(image_ids))
                return
            except ActorDiedError:
                continue
        if len(image_ids) == 1:
            yield image_ids[0]
            return
        middle = len(image_ids) // 2
        for half in (image_ids[:middle], image_ids[middle:]):
            yield from self._killers(shard, half)

    def _call(self, method: str, *arguments: Any) -> Any:
        """Wait for one call, with nothing else running."""
        while (actor := self.actors.idle()) is None:
            self.actors.wait([], timeout_s=_POLL_S)
        call = self.actors.start(actor, method, *arguments)
        while not self.actors.wait([call], timeout_s=_POLL_S):
            pass
        try:
            return self.actors.result(call)
        except ActorDiedError:
            self.actors.drop(actor)
            raise
