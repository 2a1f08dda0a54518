"""Ids of images in an order of their own: eight bytes each, and read from where they lie only when they are needed."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from schemas.content_ids import content_id


class Run(NamedTuple):
    """Ids that follow each other and lie in one shard; "" where the workspace has no such images."""

    shard: str
    ids: npt.NDArray[np.int64]


class ImageIds(Sequence[int]):
    """An immutable sequence of ids; equal to any list or tuple of the same ids in the same order."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        array = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, dtype=np.int64)
        self._load: Callable[[], Iterator[Run]] | None = None
        self._count = len(array)
        self.array = array.astype(np.int64, copy=False)

    @classmethod
    def of(cls, ids: Sequence[int]) -> "ImageIds":
        """Ids as such a sequence; themselves where they are one."""
        return ids if isinstance(ids, cls) else cls(ids)

    @classmethod
    def stored(cls, count: int, key: str, load: Callable[[], Iterator[Run]]) -> "ImageIds":
        """Ids that lie elsewhere. count, key: of theirs. load: gives them, run by run, in order."""
        ids = cls.__new__(cls)
        ids._count, ids._load = count, load
        ids.__dict__["key"] = key
        return ids

    @cached_property
    def array(self) -> npt.NDArray[np.int64]:
        """(N,) int64; not to be changed."""
        parts = [run.ids for run in self._load()] if self._load else []
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    @cached_property
    def key(self) -> str:
        """16 hex digits, 63 bits, that follow from the ids and their order."""
        return f"{content_id(np.ascontiguousarray(self.array, dtype='<i8').data):016x}"

    def runs(self) -> Iterator[Run] | None:
        """The ids run by run, one in memory at a time, where they are stored so; else None."""
        return self._load() if self._load else None

    def without(self, left_out: Collection[int]) -> "ImageIds":
        """Its ids but for some of them; run by run too, where these are stored so."""
        some = np.array(sorted(set(left_out)), dtype=np.int64)
        if self._load is None:
            return ImageIds(self.array[~np.isin(self.array, some)])
        load = self._load
        fewer = ImageIds.__new__(ImageIds)
        fewer._count = self._count - len(some)
        fewer._load = lambda: (Run(run.shard, run.ids[~np.isin(run.ids, some)]) for run in load())
        return fewer

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(self.array.tolist())

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageIds": ...
    def __getitem__(self, index: int | slice) -> "int | ImageIds":
        return ImageIds(self.array[index]) if isinstance(index, slice) else int(self.array[index])

    def __contains__(self, image_id: object) -> bool:
        return bool((self.array == image_id).any())

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, ImageIds):
            return len(self) == len(other) and self.key == other.key
        if isinstance(other, list | tuple):
            return len(self) == len(other) and self.array.tolist() == list(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{len(self)} image ids>"
