import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.coco import CocoDataset, read_coco
from engine.ingest import ingest
from engine.store import Store
from schemas.errors import InputError
from tests.pictures import encoded, shapes

H, W = 64, 96
POLYGON = [7, 10, 10, 50, 10, 50, 40, 10, 40]
ATTRIBUTES = {
    "1": {"aname": "kind", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": {"0": "cat", "1": "dog"}},
    "2": {"aname": "note", "anchor_id": "FILE1_Z0_XY1", "type": 1, "options": {}},
}


def project(
    folder: Path, metadata: dict[str, dict[str, Any]], *, source: str = "a.png", kind: int = 2, name: str = "a.png"
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(encoded(shapes(0)[0]))
    content = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1"},
        "config": {},
        "attribute": ATTRIBUTES,
        "file": {"1": {"fid": "1", "fname": name, "type": kind, "loc": 1, "src": source}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": metadata,
    }
    path = folder / "via.json"
    path.write_text(json.dumps(content))
    return path


def region(xy: list[float], av: dict[str, str] | None = None) -> dict[str, Any]:
    return {"vid": "1", "flg": 0, "z": [], "xy": xy, "av": av or {}}


def masks(dataset: CocoDataset) -> list[np.ndarray]:
    return [rle_codec.decode(mask.rle) for image in dataset.images for mask in image.masks]


def test_polygons_with_the_names_of_their_choices(tmp_path: Path) -> None:
    drawn = {"1_a": region(POLYGON, {"1": "1"}), "1_b": region(POLYGON, {"2": "a note"}), "1_c": region([], {"1": "0"})}
    dataset = read_coco(project(tmp_path / "in", drawn))
    expected = np.zeros((H, W), dtype=bool)
    expected[10:40, 10:50] = True
    np.testing.assert_array_equal(masks(dataset), [expected] * 2)
    assert [mask.label for mask in dataset.images[0].masks] == ["dog", "a note"]
    assert dataset.problems == []


@pytest.mark.parametrize(
    ("xy", "area", "middle"),
    [
        ([3, 40, 30, 20], np.pi * 20**2, (40, 30)),
        ([4, 40, 30, 20, 10], np.pi * 200, (40, 30)),
        ([9, 60, 30, 40, 50, 20, 30], np.pi * 20**2, (40, 30)),
        ([9, 52, 46, 24, 42, 40, 10], np.pi * 20**2, (40, 30)),
    ],
)
def test_circles_and_ellipses(tmp_path: Path, xy: list[float], area: float, middle: tuple[float, float]) -> None:
    (mask,) = masks(read_coco(project(tmp_path / "in", {"1_a": region(xy)})))
    assert mask.sum() == pytest.approx(area, rel=0.03)
    rows, columns = np.nonzero(mask)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(middle, abs=0.5)


@pytest.mark.parametrize(
    ("xy", "is_box"),
    [
        ([2, 10, 10, 40, 30], True),
        ([8, 10, 20, 30, 5, 50, 20, 30, 40], True),
        ([1, 5, 5], False),
        ([5, 1, 1, 9, 9], False),
        ([6, 1, 1, 9, 9, 9, 20], False),
        ([7, 1, 1], False),
        ([3, 1, 1], False),
        ([9, 1, 1, 2, 2, 3, 3], False),
        (["x"], False),
    ],
)
def test_what_is_no_mask_is_named(tmp_path: Path, xy: list[Any], is_box: bool) -> None:
    dataset = read_coco(project(tmp_path / "in", {"1_a": region(xy)}))
    (problem,) = dataset.problems
    assert (problem.kind, "sam-engine masks" in problem.reason) == ("mask", is_box)


def test_a_picture_within_the_project_is_taken_from_there(empty_store: Store, tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(encoded(shapes(1)[0])).decode()
    report = ingest(empty_store, [project(tmp_path / "in", {"1_a": region(POLYGON)}, source=url, name="b.png")])
    assert (report.added, report.masks, report.rejected) == (1, 1, [])


def test_a_picture_at_an_address_is_found_by_its_name(empty_store: Store, tmp_path: Path) -> None:
    path = project(tmp_path / "in", {"1_a": region(POLYGON)}, source="https://a.org/x/a.png")
    assert ingest(empty_store, [path]).masks == 1


def test_videos_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="labels of videos"):
        read_coco(project(tmp_path / "in", {}, kind=4))
