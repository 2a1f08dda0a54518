"""Work mapped over the shards of a round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

Result = TypeVar("Result")


@dataclass(frozen=True)
class ShardOutcome:
    """A shard that is committed. skipped: it was so already, and nothing was done. key: that it is committed with.

    left_out: images that have no rows, because they take the process down that works on them.
    """

    shard: str
    images: int
    skipped: bool
    key: str = ""
    left_out: tuple[int, ...] = ()


@runtime_checkable
class SplittableWork(Protocol):
    """Work on a shard that can also be tried and done on a part of its images."""

    def __call__(self, shard: str, /) -> ShardOutcome: ...

    def images_of(self, shard: str, /) -> Sequence[int]:
        """The images that the shard's rows are made of."""
        ...

    def try_images(self, shard: str, image_ids: Sequence[int], /) -> None:
        """Make the rows of these images, and throw them away."""
        ...

    def leave_out(self, shard: str, image_ids: Sequence[int], /) -> ShardOutcome:
        """Do the shard without these images; it is done then."""
        ...


class MapShards(Protocol):
    """Applies a worker to shards, in any order and place; gives the outcomes back."""

    def __call__(self, function: Callable[[str], ShardOutcome], shards: Sequence[str], /) -> Sequence[ShardOutcome]: ...


def serial(function: Callable[[str], Result], shards: Sequence[str]) -> list[Result]:
    """Do one shard after the other, here. The simplest of the ways to map work over shards."""
    return [function(shard) for shard in shards]
