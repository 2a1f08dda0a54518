"""Embeddings that are kept: the right ones, in the right rows, and no more than there is room for."""

import pytest
import torch
from torch import Tensor

from model.encoders import ImageEmbedding
from model.training.embedding_cache import EmbeddingCache

CELLS = 2**15  # of float32: a picture's embedding takes 2 * 128 KiB, so that four of them fill a MiB


class Encoder:
    """Makes embeddings that say which picture they are of, and counts the pictures."""

    def __init__(self, cells: int = CELLS) -> None:
        self.cells = cells
        self.encoded: list[float] = []

    def __call__(self, images: Tensor) -> ImageEmbedding:
        numbers = images[:, 0, 0, 0]
        self.encoded += numbers.tolist()
        whole = numbers[:, None].repeat(1, self.cells).requires_grad_()
        return ImageEmbedding(whole, (whole[:, : self.cells // 2] + 0.25, whole[:, self.cells // 2 :] + 0.5))


def _ask(cache: EmbeddingCache, encode: Encoder, *numbers: int, side: int = 2) -> ImageEmbedding:
    images = torch.tensor(numbers, dtype=torch.float32)[:, None, None, None].expand(-1, 3, side, side)
    found = cache.embeddings(images, torch.tensor(numbers), encode)
    assert found.features.shape == (len(numbers), encode.cells)
    assert found.features[:, 0].tolist() == list(numbers)
    assert [part[:, 0].tolist() for part in found.high_res] == [[n + 0.25 for n in numbers], [n + 0.5 for n in numbers]]
    return found


def test_pictures_that_come_again_are_not_encoded_again_and_keep_their_rows() -> None:
    cache, encode = EmbeddingCache(1), Encoder()
    _ask(cache, encode, 3, 1)
    _ask(cache, encode, 2, 1, 3)
    _ask(cache, encode, 1, 2)
    assert encode.encoded == [3, 1, 2]


def test_a_picture_at_another_size_is_another_picture() -> None:
    cache, encode = EmbeddingCache(1), Encoder()
    _ask(cache, encode, 1, side=2)
    _ask(cache, encode, 1, side=4)
    assert encode.encoded == [1, 1]


def test_the_one_that_was_not_used_for_longest_goes_first() -> None:
    cache, encode = EmbeddingCache(1), Encoder()
    _ask(cache, encode, 1, 2, 3, 4)
    _ask(cache, encode, 1)
    _ask(cache, encode, 5)  # for which 2 goes
    _ask(cache, encode, 1, 3, 4, 5)
    assert encode.encoded == [1, 2, 3, 4, 5]
    _ask(cache, encode, 2)
    assert encode.encoded == [1, 2, 3, 4, 5, 2]


@pytest.mark.parametrize(("cells", "times"), [(2**17, 1), (2**17 + 2, 2)])
def test_one_that_fills_all_room_is_kept_and_a_larger_one_is_not(cells: int, times: int) -> None:
    cache, encode = EmbeddingCache(1), Encoder(cells)
    _ask(cache, encode, 7)
    _ask(cache, encode, 7)
    assert encode.encoded == [7] * times


def test_what_is_kept_holds_no_graph() -> None:
    cache, encode = EmbeddingCache(1), Encoder()
    assert _ask(cache, encode, 1).features.requires_grad
    again = _ask(cache, encode, 1)
    assert not any(part.requires_grad for part in (again.features, *again.high_res))
