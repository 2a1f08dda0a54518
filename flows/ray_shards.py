"""Shards over a Ray cluster: the workers of the stages as actors, one a GPU, each with its model loaded once."""

from collections.abc import Callable, Sequence
from typing import Any

from schemas.errors import InputError
from stages.shards import ShardOutcome


class RayShards:
    """Maps work over shards with a pool of actors, on the cluster that RAY_ADDRESS names, else on this machine.

    A shard commits itself and is skipped where it is committed, so one that was lost with its node is done again.
    """

    def __init__(self, *, actors: int | None = None) -> None:
        """actors: how many; None for one a GPU of the cluster, or one where it has none."""
        self._actors = actors
        self._pool: Any = None
        self._function: Callable[[str], ShardOutcome] | None = None

    def __call__(self, function: Callable[[str], ShardOutcome], shards: Sequence[str], /) -> list[ShardOutcome]:
        """The outcomes in the order of `shards`. Raises InputError where Ray is not installed."""
        if self._pool is None or self._function is not function:
            self._pool, self._function = self._start(function), function
        return list(self._pool.map(lambda actor, shard: actor.work.remote(shard), list(shards)))

    def _start(self, function: Callable[[str], ShardOutcome]) -> Any:
        try:
            import ray
            from ray.util import ActorPool
        except ModuleNotFoundError as error:
            raise InputError("flow.runner is ray, which is not installed; pip install -e '.[ray]'") from error
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        gpus = int(ray.cluster_resources().get("GPU", 0))
        actor = ray.remote(num_gpus=1 if gpus else 0, max_restarts=3, max_task_retries=2)(_Actor)
        return ActorPool([actor.remote(function) for _ in range(self._actors or gpus or 1)])


class _Actor:
    def __init__(self, function: Callable[[str], ShardOutcome]) -> None:
        self._function = function

    def work(self, shard: str) -> ShardOutcome:
        return self._function(shard)
