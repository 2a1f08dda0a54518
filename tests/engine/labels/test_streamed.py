import gzip
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.coco import CocoDataset, read_coco
from engine.ingest import ingest
from engine.labels import streamed
from engine.labels.streamed import StreamedAnnotations, streamed_coco
from engine.labels.text import read_label_file
from engine.store import Store
from schemas.errors import InputError
from tests.pictures import write_coco


def both_ways(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CocoDataset, CocoDataset]:
    """What is read of the file at once, and of its annotations one by one."""
    whole = read_coco(path)
    monkeypatch.setattr(streamed, "LARGE_BYTES", 0)
    assert isinstance(read_label_file(path, Counter())["annotations"], StreamedAnnotations)
    return whole, read_coco(path)


def change(path: Path, how: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    how(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("annotations_first", [True, False])
def test_one_by_one_is_as_at_once(annotations_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_coco(tmp_path, count=3, splits={1: "holdout"})
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[10, 10, 20.5, 10, 20, 30]]
    content["annotations"][1]["iscrowd"] = 1
    content["annotations"][2]["category_id"] = 1.0
    content["annotations"] += [7, {"id": 9, "image_id": 99}]
    content["images"].append({"id": 50, "file_name": "gone.png", "height": 9, "width": 9})
    order = ["annotations", "images", "categories"]
    path.write_text(json.dumps({key: content[key] for key in (order if annotations_first else reversed(order))}))
    whole, one_by_one = both_ways(path, monkeypatch)
    assert whole == one_by_one
    assert len(whole.problems) == 3


def test_crowds_are_decided_when_all_annotations_were_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_coco(tmp_path, count=2)
    change(path, lambda content: [record.update(iscrowd=1) for record in content["annotations"]])
    whole, one_by_one = both_ways(path, monkeypatch)
    assert whole == one_by_one
    assert not any(mask.iscrowd for image in whole.images for mask in image.masks)


def test_a_packed_file_is_read_one_by_one_too(
    tmp_path: Path, empty_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_coco(tmp_path / "in", count=2)
    (tmp_path / "in" / "shapes.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    monkeypatch.setattr(streamed, "LARGE_BYTES", 0)
    report = ingest(empty_store, [tmp_path / "in"])
    assert (report.added, report.rejected) == (2, [])
    assert report.masks > 0


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"images": [], "annotations": []}',
        '{"images": [{"id": 1}], "annotations": [{"segments_info": []}]}',
        '{"images": [{"id": 1}], "annotations": [{"id": 1}',
        '{"images": {"a": 1}, "annotations": [{"id": 1}]}',
    ],
)
def test_what_is_not_plainly_such_a_file_is_read_at_once(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "LARGE_BYTES", 0)
    (tmp_path / "a.json").write_text(text)
    assert streamed_coco(tmp_path / "a.json") is None


def test_a_file_that_changes_under_the_reader_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_coco(tmp_path, count=2)
    monkeypatch.setattr(streamed, "LARGE_BYTES", 0)
    content = streamed_coco(path)
    assert content is not None
    path.write_text(path.read_text()[:400])
    monkeypatch.setattr("engine.coco.read_label_file", lambda *_: content)
    with pytest.raises(InputError, match=r"shapes\.json: not valid JSON"):
        read_coco(path)


def test_memory_does_not_grow_with_the_polygons(tmp_path: Path) -> None:
    """35 MB of corners as objects would take more than 150 MB."""
    corners = [round(0.1 * number, 7) for number in range(1000)]
    annotation = json.dumps({"id": 1, "image_id": 1, "segmentation": [corners]})
    image = {"id": 1, "file_name": "gone.png", "height": 90, "width": 90}
    path = tmp_path / "a.json"
    path.write_text(f'{{"images": [{json.dumps(image)}], "annotations": [{",".join([annotation] * 6000)}]}}')
    assert path.stat().st_size > streamed.LARGE_BYTES
    tracemalloc.start()
    content = read_label_file(path, Counter())
    assert sum(1 for _ in content["annotations"]) == 6000
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5e6
