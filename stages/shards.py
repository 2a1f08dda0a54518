"""Work mapped over the shards of a round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class ShardOutcome:
    """A shard that is committed. skipped: it was so already, and nothing was done."""

    shard: str
    images: int
    skipped: bool


class MapShards(Protocol):
    """Applies a worker to shards, in any order and place; gives the outcomes back."""

    def __call__(self, function: Callable[[str], ShardOutcome], shards: Sequence[str], /) -> Sequence[ShardOutcome]: ...


def serial(function: Callable[[str], Result], shards: Sequence[str]) -> list[Result]:
    """Do one shard after the other, here. The simplest of the ways to map work over shards."""
    return [function(shard) for shard in shards]
