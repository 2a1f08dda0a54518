import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.ingest import ingest
from engine.labels.coco_results import IMPORTER
from engine.store import Store
from schemas.rle import Rle
from tests.pictures import encoded, shapes

MASKS = shapes(0)[1]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "000000000042.jpg").write_bytes(encoded(shapes(0)[0]))
    found: list[dict[str, Any]] = [
        {"image_id": 42, "category_id": 1, "segmentation": rle_codec.encode(mask).to_coco(), "score": 0.9}
        for mask in MASKS
    ]
    path = folder / "results.json"
    path.write_text(json.dumps([*found, {"image_id": 42, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.1}]))
    return path


def test_what_a_model_found_is_read_where_the_file_is_named(empty_store: Store, results: Path) -> None:
    report = ingest(empty_store, [results])
    assert (report.added, report.masks, len(report.rejected)) == (1, len(MASKS), 1)
    rows = empty_store.read_table("ground_truth").to_pylist()
    decoded = sorted((rle_codec.decode(Rle.of_row(row)) for row in rows), key=lambda mask: mask.tobytes())
    np.testing.assert_array_equal(decoded, sorted(MASKS, key=lambda mask: mask.tobytes()))


def test_in_a_folder_it_is_named(empty_store: Store, results: Path) -> None:
    report = ingest(empty_store, [results.parent])
    assert (report.added, report.masks) == (1, 0)
    assert [problem.source for problem in report.rejected] == [str(results)]
    assert "name the file itself" in report.rejected[0].reason


def test_lists_of_other_things_are_none() -> None:
    assert not IMPORTER.recognises([])
    assert not IMPORTER.recognises([{"image_id": 1, "bbox": [1, 2, 3, 4]}])
    assert not IMPORTER.recognises([{"segmentation": []}])
