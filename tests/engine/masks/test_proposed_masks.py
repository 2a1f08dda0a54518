"""All masks that were proposed for a picture."""

from pathlib import Path

import pytest

from engine.fast_sam import FastSam, ProposalFile
from engine.masks.proposed_masks import AllProposed
from engine.rle import encode
from schemas.errors import InputError
from tests.engine.test_fast_sam import OTHER, PART, WHOLE, picture, write_results


def test_they_come_as_they_are_best_first_and_none_twice(tmp_path: Path) -> None:
    path = write_results(tmp_path / "in")
    path.write_text(path.read_text().replace('"score": 0.2', '"score": 0.5').replace("[0, 0, 1, 1]", "[0, 0, 9, 9]"))
    makes = AllProposed(FastSam(ProposalFile(path)))
    told: list[tuple[int, int]] = []
    found = makes.generate(picture("a"), progress=lambda done, total: told.append((done, total)))
    assert [mask.rle for mask in found.masks[:3]] == [encode(WHOLE), encode(OTHER), encode(PART)]
    assert [mask.predicted_iou for mask in found.masks] == [0.9, 0.7, 0.6, 0.5]
    assert [mask.label for mask in found.masks] == ["car", "tree", "part", "spot"]
    assert found.coverage_frac == pytest.approx((WHOLE | OTHER).mean(), abs=0.001)
    assert told == [(1, 1)]
    with pytest.raises(InputError, match="has no masks of this picture"):
        makes.generate(picture("c"))


def test_of_masks_that_are_nearly_the_same_the_best_stays(tmp_path: Path) -> None:
    path = write_results(tmp_path / "in")
    text = path.read_text()
    path.write_text(text[:-1] + ", " + text[1:].replace("0.9", "0.8"))
    found = AllProposed(FastSam(ProposalFile(path))).generate(picture("a"))
    assert [mask.predicted_iou for mask in found.masks] == [0.9, 0.7, 0.6]
    assert found.dropped["duplicate_mask"] == 3
