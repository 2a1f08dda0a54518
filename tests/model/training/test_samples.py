"""Samples, and the parts of batches."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from model.training.samples import Batch, Picture, Sample, collate, decode_masks
from tests.model.training.shapes import compress


def _picture(slot: int, *, masks: int, side: int = 4) -> Picture:
    """Picture and masks say which they are: the slot in every pixel, the number of the mask in its first row."""
    image = np.full((side, side, 3), (slot, slot + 1, slot + 2), np.uint8)
    shown = np.zeros((masks, side, side), dtype=bool)
    for number, mask in enumerate(shown):
        mask[0, : number + 1] = True
    return Picture(image, shown, slot, 10 * slot)


def _batch(*counts: int) -> Batch:
    return collate([_picture(slot, masks=count) for slot, count in enumerate(counts)])


def _said(batch: Batch) -> list[tuple[int, int, int, list[int]]]:
    """Of each picture: what its pixels say, its slot and sample, and which masks it has."""
    masks = batch.masks[:, 0].sum(1) - 1
    return [
        (int(image[0, 0, 0]), int(slot), int(sample), masks[batch.image_index == row].tolist())
        for row, (image, slot, sample) in enumerate(zip(batch.images, batch.slots, batch.samples, strict=True))
    ]


def test_the_size_of_a_sample_is_that_of_its_masks_where_it_has_some() -> None:
    half = np.zeros((5, 7, 3), np.uint8)
    assert Sample(half, [compress(np.ones((10, 14), dtype=bool))]).full_hw == (10, 14)
    assert Sample(half, []).full_hw == (5, 7)


def test_masks_are_decoded_one_after_the_other() -> None:
    first, second = np.eye(3, 5, dtype=bool), np.ones((3, 5), dtype=bool)
    found = decode_masks([compress(first), compress(second)])
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.stack([first, second], axis=2))


def test_a_batch_holds_pictures_side_by_side_and_masks_in_a_row() -> None:
    batch = _batch(2, 0, 3)
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 4, 4), torch.uint8)
    assert batch.images.is_contiguous()
    assert batch.images[1, :, 2, 3].tolist() == [1, 2, 3]
    assert (batch.masks.shape, batch.masks.dtype) == ((5, 4, 4), torch.bool)
    assert batch.image_index.tolist() == [0, 0, 2, 2, 2]
    assert [batch.masks_of(row) for row in range(3)] == [2, 0, 3]
    assert _said(batch) == [(0, 0, 0, [0, 1]), (1, 1, 10, []), (2, 2, 20, [0, 1, 2])]


@pytest.mark.parametrize(
    ("at_once", "rows"), [(None, [[0, 1, 2, 3, 4]]), (5, [[0, 1, 2, 3, 4]]), (2, [[0, 1], [4]]), (1, [[0], [1], [4]])]
)
def test_parts_hold_all_masks_once_and_leave_out_pictures_only_where_none_has_any(
    at_once: int | None, rows: list[list[int]]
) -> None:
    batch = _batch(1, 2, 0, 0, 3)
    whole, parts = _said(batch), list(batch.parts(at_once))
    assert [_said(part) for part in parts] == [[whole[row] for row in part] for part in rows]
    assert all(later >= earlier for part in parts for earlier, later in pairwise(part.image_index.tolist()))


@pytest.mark.parametrize(("multiple", "left"), [(1, 5), (2, 4), (3, 3), (5, 5), (6, 5)])
def test_a_multiple_of_masks_keeps_the_first(multiple: int, left: int) -> None:
    batch = _batch(2, 3)
    fewer = batch.with_masks_multiple_of(multiple)
    assert torch.equal(fewer.masks, batch.masks[:left])
    assert torch.equal(fewer.image_index, batch.image_index[:left])
    assert torch.equal(fewer.images, batch.images)
    assert (fewer.slots.tolist(), fewer.samples.tolist()) == ([0, 1], [0, 10])


def test_what_a_gpu_copies_is_pinned_and_what_it_computes_with_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, pinned = _batch(2, 1), []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda part: pinned.append(part) or part)
    assert _said(batch.pin_memory()) == _said(batch)
    assert [part is own for part, own in zip(pinned, (batch.images, batch.masks), strict=True)] == [True, True]
    moved = batch.to(torch.device("meta"))
    assert [part.device.type for part in (moved.images, moved.masks, moved.image_index)] == ["meta"] * 3
    assert [part.shape for part in (moved.images, moved.masks, moved.image_index)] == [(2, 3, 4, 4), (3, 4, 4), (3,)]
    assert (moved.slots.tolist(), moved.samples.tolist()) == ([0, 1], [0, 10])
