import base64
import json
from pathlib import Path

import numpy as np
import pytest

from engine.coco import read_coco
from engine.ingest import ingest
from engine.labels.embedded import is_data_url, picture_in
from engine.store import Store
from tests.pictures import encoded, shapes

CORNERS = [[10, 10], [50, 10], [50, 40], [10, 40]]
DATA = base64.b64encode(encoded(shapes(0)[0])).decode()


def labelme(folder: Path, data: str | None = DATA, name: str | None = "gone.jpg") -> Path:
    folder.mkdir()
    shape = {"label": "cat", "points": CORNERS, "group_id": None, "shape_type": "polygon"}
    content = {"shapes": [shape], "imagePath": name, "imageData": data, "imageHeight": 64, "imageWidth": 96}
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize("name", ["gone.jpg", "..\\elsewhere\\gone.jpg", None])
def test_a_picture_that_is_in_the_label_file_alone_is_taken_from_there(
    empty_store: Store, tmp_path: Path, name: str | None, as_folder: bool
) -> None:
    path = labelme(tmp_path / "in", name=name)
    report = ingest(empty_store, [path.parent if as_folder else path])
    assert (report.added, report.masks) == (1, 1)
    assert report.mended == {"picture within the label file": 1}
    assert report.rejected == []
    (row,) = empty_store.images().to_pylist()
    assert row["source"] == f"{path}: {name or 'a.png'}"
    np.testing.assert_array_equal(empty_store.load_image(row["image_id"]), shapes(0)[0])


def test_a_picture_beside_the_file_comes_first(empty_store: Store, tmp_path: Path) -> None:
    path = labelme(tmp_path / "in", name="b.png")
    (path.parent / "b.png").write_bytes(encoded(shapes(1)[0]))
    ingest(empty_store, [path])
    (row,) = empty_store.images().to_pylist()
    assert row["source"] == str(path.parent / "b.png")


def test_what_is_no_picture_is_named(empty_store: Store, tmp_path: Path) -> None:
    report = ingest(empty_store, [labelme(tmp_path / "in", data=base64.b64encode(b"hello").decode())])
    assert (report.added, report.masks, len(report.rejected)) == (0, 0, 1)


@pytest.mark.parametrize("data", ["*", "", None])
def test_a_missing_picture_stays_missing(empty_store: Store, tmp_path: Path, data: str | None) -> None:
    report = ingest(empty_store, [labelme(tmp_path / "in", data=data)])
    assert report.added == 0
    assert "no such file" in report.rejected[0].reason


def test_readers_that_write_nothing_say_who_takes_it(tmp_path: Path) -> None:
    dataset = read_coco(labelme(tmp_path / "in"))
    assert dataset.images == []
    assert "which ingest takes" in dataset.problems[0].reason


def test_addresses_that_hold_a_picture() -> None:
    url = f"data:image/png;base64,{DATA}"
    assert is_data_url(url)
    assert not is_data_url("https://a.org/a.png")
    assert picture_in(url) == picture_in(DATA) == encoded(shapes(0)[0])
    assert picture_in(3) is None
