"""Shards over a Ray cluster: the workers of the stages as actors, one a GPU, each with its model loaded once."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from flows.shard_run import ActorDiedError, ShardRun
from schemas.errors import InputError
from stages.shards import ShardOutcome
from stages.workers import ShardWorker

START_S = 300.0  # that a first actor may take to start: a busy node imports torch for a minute
MAX_FAILED_STARTS = 3  # one after the other


class RayShards:
    """Maps work over shards with a pool of actors, on the cluster that RAY_ADDRESS names, else on this machine.

    A shard commits itself and is skipped where it is committed, so one that was lost with its actor or node is done
    again; `flows.shard_run` says what becomes of slow ones and of those that kill.
    """

    def __init__(self, *, actors: int | None = None) -> None:
        """actors: how many; None for one a GPU of the cluster, or one where it has none."""
        self._size = actors
        self._actors: RayActors | None = None
        self._function: Callable[[str], ShardOutcome] | None = None

    def __call__(self, function: Callable[[str], ShardOutcome], shards: Sequence[str], /) -> list[ShardOutcome]:
        """The outcomes in the order of `shards`.

        Raises InputError where Ray is not installed, no cluster answers or it has no room for an actor.
        """
        if self._actors is None or self._function is not function:
            if self._actors is not None:
                self._actors.close()
            self._actors, self._function = RayActors(function, size=self._size), function
        return ShardRun(self._actors, function, done=lambda outcome: _count(function, outcome))(shards)


class RayActors:
    """Actors of a Ray cluster (`flows.shard_run.Actors`). One that ends is replaced, on any node with room for it."""

    def __init__(self, function: Callable[[str], ShardOutcome], *, size: int | None) -> None:
        self._ray = connected()
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        self._class = self._ray.remote(num_gpus=1 if gpus else 0, max_restarts=0, scheduling_strategy="SPREAD")(_Actor)
        self._function = self._ray.put(function)
        self._starting: dict[Any, Any] = {}  # actors by the answer that tells that they are ready
        self._idle: list[Any] = []
        self._busy: dict[Any, Any] = {}  # actors by call
        self._failed_starts, self._alone_since = 0, time.monotonic()
        for _ in range(size or gpus or 1):
            self._add()

    def idle(self) -> Any | None:
        self._look_for_started()
        if self._idle or self._busy:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > START_S:
            raise InputError(
                f"no actor of Ray started within {START_S:.0f} s; the cluster has {self._ray.available_resources()} "
                "free: add a node, or end what holds them"
            )
        return self._idle.pop() if self._idle else None

    def start(self, actor: Any, method: str, *arguments: Any) -> Any:
        call = actor.work.remote(method, *arguments)
        self._busy[call] = actor
        return call

    def wait(self, calls: Sequence[Any], *, timeout_s: float) -> Sequence[Any]:
        self._look_for_started()
        if looked_at := [*calls, *self._starting]:
            self._ray.wait(looked_at, num_returns=1, timeout=timeout_s)
        return self._ray.wait(list(calls), num_returns=len(calls), timeout=0)[0] if calls else []

    def result(self, call: Any) -> Any:
        actor = self._busy.pop(call)
        found = self._get(call)
        self._idle.append(actor)
        return found

    def drop(self, actor: Any) -> None:
        self._busy = {call: each for call, each in self._busy.items() if each is not actor}
        self._ray.kill(actor)
        self._add()

    def close(self) -> None:
        """End all actors."""
        for actor in (*self._starting.values(), *self._idle, *self._busy.values()):
            self._ray.kill(actor)

    def _add(self) -> None:
        actor = self._class.remote(self._function)
        self._starting[actor.ready.remote()] = actor

    def _look_for_started(self) -> None:
        if not self._starting:
            return
        ended, _ = self._ray.wait(list(self._starting), num_returns=len(self._starting), timeout=0)
        for call in ended:
            actor = self._starting.pop(call)
            try:
                self._get(call)
            except ActorDiedError as error:
                self._failed_starts += 1
                if self._failed_starts >= MAX_FAILED_STARTS:
                    raise InputError(f"actors of Ray do not start: {error}") from error
                self._add()
            else:
                self._failed_starts = 0
                self._idle.append(actor)

    def _get(self, call: Any) -> Any:
        """What a call gave. Raises ActorDiedError, or what the function raised."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(call)
        except errors.RayTaskError as error:
            raise error.cause from None
        except (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError) as error:
            raise ActorDiedError(str(error).strip().splitlines()[0]) from error


class _Actor:
    def __init__(self, function: Callable[[str], ShardOutcome]) -> None:
        self._function = function

    def ready(self) -> None:
        """Answers once the process is there."""

    def work(self, method: str, *arguments: Any) -> Any:
        return getattr(self._function, method)(*arguments)


def connected() -> Any:
    """Ray, with a cluster behind it. Raises InputError where it is not installed, or no cluster answers."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError("flow.runner is ray, which is not installed; pip install -e '.[ray]'") from error
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        _knock(address)
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    except Exception as error:  # of no class of its own where a node does not start in time
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"no Ray cluster answers at {address or 'this machine'}: {told}; `ray start --head` starts one, without "
            "RAY_ADDRESS one is started on this machine"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT, for which Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _count(function: Callable[[str], ShardOutcome], outcome: ShardOutcome) -> None:
    """Move the progress here: the copies of a worker in actors have none."""
    if isinstance(function, ShardWorker):
        function.count(outcome.images + len(outcome.left_out))
