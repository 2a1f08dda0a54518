"""Embeddings of a frozen image encoder, kept in memory: a picture that comes again is not encoded again."""

from collections.abc import Callable

import torch
from cachetools import LRUCache
from torch import Tensor

from model.encoders import ImageEmbedding

_MIB = 2**20


class EmbeddingCache:
    """Keeps what was used last, up to a number of bytes; in main memory, so that the device's stays free."""

    def __init__(self, max_mib: int) -> None:
        self._kept: LRUCache[tuple[int, int], tuple[Tensor, ...]] = LRUCache(max_mib * _MIB, getsizeof=_size)

    def embeddings(self, images: Tensor, samples: Tensor, encode: Callable[[Tensor], ImageEmbedding]) -> ImageEmbedding:
        """The embedding of B pictures (B, 3, S, S), with `encode` called for those that are not kept.

        samples: (B,), what tells pictures of one size apart.
        """
        keys = [(int(sample), images.shape[-1]) for sample in samples]
        missing = [row for row, key in enumerate(keys) if key not in self._kept]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        if missing:
            fresh = encode(images[missing])
            parts = (fresh.features, *fresh.high_res)
            found |= {keys[row]: tuple(part[at] for part in parts) for at, row in enumerate(missing)}
        for key in keys:
            self._keep(key, found[key])
        by_part = zip(*(found[key] for key in keys), strict=True)
        features, *high_res = (torch.stack(rows).to(images.device) for rows in by_part)
        return ImageEmbedding(features, tuple(high_res))

    def _keep(self, key: tuple[int, int], parts: tuple[Tensor, ...]) -> None:
        if key not in self._kept and _size(parts) <= self._kept.maxsize:
            self._kept[key] = tuple(part.detach().cpu() for part in parts)


def _size(parts: tuple[Tensor, ...]) -> int:
    return sum(part.numel() * part.element_size() for part in parts)
