"""Forms of VIA's table, V7 and Supervisely, and of files that stray: the right masks, and what is no mask named."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.coco import read_coco
from engine.ingest import ingest
from engine.store import Store
from schemas.errors import InputError
from tests.engine.labels.tools import CORNERS, H, W, cvat, labels, masks, put, set_folder, square
from tests.pictures import encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return set_folder(tmp_path)


def via_table(folder: Path, *regions: tuple[Any, Any], column: str = "filename") -> Path:
    lines = [f"{column},file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    for number, (shape, attributes) in enumerate(regions):
        texts = ['"' + json.dumps(each).replace('"', '""') + '"' for each in (shape, attributes)]
        lines.append(f'a.jpg,12,"{{}}",{len(regions)},{number},{texts[0]},{texts[1]}')
    return put(folder, "via_region_data.csv", "\n".join(lines))


VIA_POLYGON = {"name": "polygon", "all_points_x": [10, 50, 50, 10], "all_points_y": [10, 10, 40, 40]}


@pytest.mark.parametrize("column", ["filename", "#filename"])
def test_vias_table_is_read_as_its_json(folder: Path, column: str) -> None:
    box = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}
    found = read_coco(via_table(folder, (VIA_POLYGON, {"kind": "cat"}), (box, {}), column=column))
    assert np.array_equal(masks(found)[0], square())
    assert labels(found) == ["cat"]
    assert len(found.problems) == 1


def test_a_picture_without_regions_in_vias_table_has_no_masks(folder: Path) -> None:
    found = read_coco(via_table(folder, ({}, {})))
    assert (len(found.images), masks(found), found.problems) == (1, [], [])


def darwin(*annotations: dict[str, Any]) -> dict[str, Any]:
    slots = [{"type": "image", "slot_name": "0", "width": W, "height": H, "source_files": []}]
    return {"version": "2.0", "item": {"name": "a.jpg", "path": "/", "slots": slots}, "annotations": list(annotations)}


def ring(*corners: tuple[int, int]) -> list[dict[str, int]]:
    return [{"x": x, "y": y} for x, y in corners]


HOLE = [(20, 20), (30, 20), (30, 30), (20, 30)]


def test_darwins_polygons_have_holes(folder: Path) -> None:
    content = darwin(
        {"name": "cat", "id": "u", "polygon": {"paths": [ring(*CORNERS)]}},
        {"name": "ring", "polygon": {"paths": [ring(*CORNERS), ring(*HOLE)]}},
        {"name": "box", "bounding_box": {"x": 1, "y": 2, "w": 3, "h": 4}},
    )
    found = read_coco(put(folder, "a.json", content))
    whole, pierced = masks(found)
    assert np.array_equal(whole, square())
    assert np.array_equal(pierced, square() & ~square(20, 20, 30, 30))
    assert labels(found) == ["cat", "ring"]
    assert len(found.problems) == 1


def test_darwins_raster_layers_hold_masks(folder: Path) -> None:
    values = np.where(square(), 2, 0).ravel()
    values[-5:] = 1
    edges = np.flatnonzero(np.diff(values)) + 1
    runs = [int(n) for part in np.split(values, edges) for n in (part[0], len(part))]
    layer = {"dense_rle": runs, "mask_annotation_ids_mapping": {"m": 2, "n": 1}, "total_pixels": H * W}
    content = darwin(
        {"id": "m", "name": "cat", "mask": {}},
        {"id": "n", "name": "dog", "mask": {}},
        {"id": "gone", "name": "dog", "mask": {}},
        {"id": "l", "name": "__raster_layer__", "raster_layer": layer},
        {"id": "b", "name": "__raster_layer__", "raster_layer": {"dense_rle": [1], "mask_annotation_ids_mapping": {}}},
    )
    found = read_coco(put(folder, "a.json", content))
    assert np.array_equal(masks(found)[0], square())
    assert [int(mask.sum()) for mask in masks(found)] == [1200, 5]
    assert labels(found) == ["cat", "dog"]
    assert len(found.problems) == 1


def supervisely(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"description": "", "tags": [], "size": {"height": H, "width": W}, "objects": list(objects)}


def test_superviselys_polygons_and_bitmaps(empty_store: Store, tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 4), dtype=np.uint8)
    pixels[1:3, 1:4] = 255
    data = base64.b64encode(zlib.compress(encoded(pixels))).decode()
    polygon = {"exterior": [list(corner) for corner in CORNERS], "interior": [[list(corner) for corner in HOLE]]}
    content = supervisely(
        {"classTitle": "cat", "geometryType": "polygon", "points": polygon},
        {"classTitle": "dog", "geometryType": "bitmap", "bitmap": {"data": data, "origin": [60, 40]}},
        {"classTitle": "box", "geometryType": "rectangle", "points": {"exterior": [[1, 1], [9, 9]], "interior": []}},
    )
    put(tmp_path / "set", "ds/ann/a.jpg.json", content)
    (tmp_path / "set" / "ds" / "img").mkdir()
    (tmp_path / "set" / "ds" / "img" / "a.jpg").write_bytes(encoded(np.full((H, W, 3), 90, dtype=np.uint8), "JPEG"))
    report = ingest(empty_store, [tmp_path / "set"])
    assert (report.added, report.masks, len(report.rejected)) == (1, 2, 1), report.rejected
    rows = {row["label"]: row for row in empty_store.read_table("ground_truth").to_pylist()}
    assert rows["cat"]["area"] == 1200 - 100
    assert (rows["dog"]["area"], rows["dog"]["bbox"]) == (6, [61, 41, 64, 43])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([{"data_row": {"id": "x"}, "projects": {}}], "an export of Labelbox"),
        ({"dataset": {"samples": []}, "release": {}}, "a release of Segments.ai"),
        ({"samples": []}, "FiftyOne's own form"),
    ],
)
@pytest.mark.parametrize("as_folder", [False, True])
def test_forms_that_are_not_read_are_named_by_their_tool(
    empty_store: Store, folder: Path, content: Any, says: str, as_folder: bool
) -> None:
    path = put(folder, "labels.json", content)
    report = ingest(empty_store, [folder if as_folder else path])
    assert any(says in problem.reason and "export it as COCO" in problem.reason for problem in report.rejected)
    assert report.added == (1 if as_folder else 0)


@pytest.mark.parametrize(
    "text", ["<annotations", "", "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>"]
)
def test_xml_that_is_none_is_named(folder: Path, text: str) -> None:
    with pytest.raises(InputError, match="not valid XML"):
        read_coco(put(folder, "a.xml", text))


def test_annotations_within_images_are_theirs(folder: Path) -> None:
    image = {"id": 7, "file_name": "a.jpg", "height": H, "width": W}
    polygon = [float(number) for corner in CORNERS for number in corner]
    found = read_coco(
        put(folder, "x.json", {"images": [image | {"annotations": [{"id": 1, "segmentation": [polygon]}]}]})
    )
    assert np.array_equal(masks(found)[0], square())
    assert found.mended == {"annotations within images": 1}


def test_corners_as_shares_of_the_picture_are_scaled(folder: Path) -> None:
    shares = [value for x, y in CORNERS for value in (x / W, y / H)]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": H, "width": W}],
        "annotations": [{"id": 1, "image_id": 1, "segmentation": [shares]}],
    }
    found = read_coco(put(folder, "x.json", content))
    assert np.array_equal(masks(found)[0], square())
    assert found.mended == {"corners as shares of the picture": 1}


def test_what_has_a_box_alone_is_said_to_have_no_mask(folder: Path) -> None:
    shape = '<box label="cat" xtl="1" ytl="2" xbr="30" ybr="40"/>'
    (problem,) = read_coco(put(folder, "annotations.xml", cvat(shape))).problems
    assert problem.reason == (
        "it has no segmentation: boxes, points and lines are no masks; sam-engine masks makes masks of boxes"
    )


def test_an_option_that_is_ticked_in_via_is_a_label(folder: Path) -> None:
    region = {"shape_attributes": VIA_POLYGON, "region_attributes": {"kind": {"dog": False, "cat": True}}}
    found = read_coco(put(folder, "v.json", {"a": {"filename": "a.jpg", "regions": [region]}}))
    assert labels(found) == ["cat"]


@pytest.mark.parametrize("form", ["text", "by id"])
def test_coco_with_texts_or_objects_for_lists(folder: Path, form: str) -> None:
    polygons = [[float(number) for corner in CORNERS for number in corner]]
    image = {"id": 1, "file_name": "a.jpg", "height": H, "width": W}
    mask = {"image_id": 1, "category_id": 1, "segmentation": json.dumps(polygons) if form == "text" else polygons}
    content: dict[str, Any] = {"images": [image], "annotations": [mask], "categories": [{"id": 1, "name": "cat"}]}
    if form == "by id":
        content |= {"images": {"1": image}, "annotations": {"7": mask}, "categories": {"1": {"name": "cat"}}}
    found = read_coco(put(folder, "c.json", content))
    assert np.array_equal(masks(found)[0], square())
    assert labels(found) == ["cat"]
    assert found.mended == ({"segmentation written as text": 1} if form == "text" else {"records by id": 3})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("boxes.csv", "filename,class,xmin,ymin,xmax,ymax\na.jpg,cat,1,2,3,4\n"),
        ("found.json", [{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]),
        ("createml.json", [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 1}}]}]),
    ],
)
def test_files_of_boxes_are_named_with_what_makes_masks_of_them(
    empty_store: Store, folder: Path, name: str, content: Any
) -> None:
    put(folder, name, content)
    (problem,) = ingest(empty_store, [folder]).rejected
    assert "sam-engine masks makes masks of boxes" in problem.reason


def test_json_under_other_endings_and_arrays_are_named_and_read_where_they_are_meant(
    empty_store: Store, folder: Path
) -> None:
    polygons = [[float(number) for corner in CORNERS for number in corner]]
    image = {"id": 1, "file_name": "a.jpg", "height": H, "width": W}
    content = {"images": [image], "annotations": [{"id": 1, "image_id": 1, "segmentation": polygons}]}
    for name in ("c.txt", "annotations"):
        put(folder, name, content)
    np.save(folder / "mask.npy", square())
    put(folder, "a.geojson", {"type": "FeatureCollection", "features": []})
    report = ingest(empty_store, [folder])
    assert (report.added, report.masks, len(report.rejected)) == (1, 0, 4)
    told = {Path(problem.source).name: problem.reason for problem in report.rejected}
    assert "rename it to .json" in told["c.txt"] == told["annotations"]
    assert "save masks as PNG" in told["mask.npy"]
    assert ingest(empty_store, [folder / "c.txt", folder / "annotations"]).masks == 1


def test_slots_and_labels_of_unknown_kinds(folder: Path) -> None:
    content = darwin({"name": "cat", "polygon": {"paths": [ring(*CORNERS)]}})
    content["item"]["slots"] = 7
    assert np.array_equal(masks(read_coco(put(folder, "a.json", content)))[0], square())
    corners = [number for corner in CORNERS for number in corner]
    record = {"type": "polygon", "points": corners, "label_id": {}, "group": [3]}
    item = {"id": "a", "image": {"path": "a.jpg", "size": [H, W]}, "annotations": [record]}
    found = read_coco(put(folder, "d.json", {"categories": {}, "items": [item]}))
    assert np.array_equal(masks(found)[0], square())
