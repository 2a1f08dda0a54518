"""Tars of releases over a Ray cluster, by the writers that processes of one machine have."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.processes import Item, Result, Tell, untold
from flows.ray_shards import connected


@dataclass(frozen=True)
class RayItems:
    """Maps the tars of a release over a Ray cluster, whose machines all see the release's folder; nobody hears what the
    work tells on its way.

    actors: how many; None for one a core of the cluster.
    """

    actors: int | None = None

    @property
    def at_once(self) -> int:
        """A core each."""
        return os.cpu_count() or 1

    def __call__(
        self, function: Callable[[Item, Tell], Result], items: Sequence[Item], tell: Tell, /
    ) -> Sequence[Result]:
        """Raises what the function raises, and InputError where Ray is not installed or no cluster answers."""
        if not items:
            return []
        ray = connected()
        from ray.util import ActorPool

        count = self.actors or int(ray.cluster_resources().get("CPU", 1))
        actor = ray.remote(num_cpus=1, max_restarts=3, max_task_retries=2)(_Actor)
        actors = [actor.remote(function) for _ in range(min(count, len(items)))]
        try:
            return list(ActorPool(actors).map(lambda each, item: each.work.remote(item), list(items)))
        finally:
            for each in actors:
                ray.kill(each)


class _Actor:
    def __init__(self, function: Callable[[Any, Tell], Any]) -> None:
        self._function = function

    def work(self, item: Any) -> Any:
        return self._function(item, untold)
