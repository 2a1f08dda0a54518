from pathlib import Path

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.ingest import ingest
from engine.store import Store
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH
from tests.pictures import encoded, shapes, write_coco

POLYGON = "1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"


def square() -> np.ndarray:
    mask = np.zeros((64, 96), dtype=bool)
    mask[16:48, 24:72] = True
    return mask


@pytest.mark.parametrize(("picture", "text"), [("images/train/a.png", "labels/train/a.txt"), ("a.png", "a.txt")])
def test_outlines_in_fractions_become_masks(picture: str, text: str, empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in (picture, text):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / picture).write_bytes(encoded(shapes(0)[0]))
    (folder / "data.yaml").write_text("names: [dog, cat]\n")
    (folder / text).write_text(f"{POLYGON}\n\n0 0.5 0.5 0.2 0.2\n")
    report = ingest(empty_store, [folder])
    assert (report.added, report.masks) == (1, 1)
    assert [problem.source.partition(": annotation ")[2] for problem in report.rejected] == [f"{text}: line 3"]
    (row,) = empty_store.read_table(GROUND_TRUTH).to_pylist()
    assert row["label"] == "cat"
    np.testing.assert_array_equal(rle_codec.decode(Rle.of_row(row)), square())


@pytest.mark.parametrize("text", ["a note\n", "1 2 3\n", "1.5 0 0 1 0 1 1\n", "1 0 0 50 0 50 50\n", "1 0 0 1 0 1\n"])
def test_other_texts_are_none(text: str, empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(shapes(0)[0]))
    (folder / "a.txt").write_text(text)
    report = ingest(empty_store, [folder])
    assert (report.added, report.masks, report.ignored_endings, report.rejected) == (1, 0, {".txt": 1}, [])


def test_pictures_that_a_label_file_describes_are_not_read_twice(empty_store: Store, tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "in", count=1)
    coco.parent.joinpath("shapes", "0.txt").write_text(POLYGON)
    assert ingest(empty_store, [tmp_path / "in"]).masks == len(shapes(0)[1])
