"""Forms of CVAT, Pascal VOC, VIA's table, V7 and Supervisely: the right masks, and what is no mask named."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import rle as rle_codec
from engine.coco import CocoDataset, read_coco
from engine.ingest import ingest
from engine.store import Store
from schemas.errors import InputError
from tests.pictures import encoded

H, W = 64, 96
CORNERS = [(10, 10), (50, 10), (50, 40), (10, 40)]


def square(x0: int = 10, y0: int = 10, x1: int = 50, y1: int = 40) -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "set"
    made.mkdir()
    (made / "a.jpg").write_bytes(encoded(np.full((H, W, 3), 90, dtype=np.uint8), "JPEG"))
    return made


def put(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def masks(dataset: CocoDataset) -> list[np.ndarray]:
    return [rle_codec.decode(mask.rle) for image in dataset.images for mask in image.masks]


def labels(dataset: CocoDataset) -> list[str]:
    return [mask.label for image in dataset.images for mask in image.masks]


def cvat(shapes: str, *, size: str = f'width="{W}" height="{H}"') -> str:
    picture = f'<image id="0" name="a.jpg" {size}>{shapes}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta/>{picture}</annotations>'


def points(corners: list[tuple[int, int]]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)


POLYGON = f'<polygon label="cat" occluded="0" points="{points(CORNERS)}" z_order="0"/>'


def test_cvat_polygons_and_masks_are_read(folder: Path) -> None:
    mask = '<mask label="dog" source="manual" occluded="0" rle="1, 2, 1, 2" left="20" top="30" width="3" height="2"/>'
    found = read_coco(put(folder, "annotations.xml", cvat(POLYGON + mask)))
    first, second = masks(found)
    assert np.array_equal(first, square())
    expected = np.zeros((H, W), dtype=bool)
    expected[30, 21:23] = expected[31, 21:23] = True  # row by row: off, on, on, off, on, on
    assert np.array_equal(second, expected)
    assert labels(found) == ["cat", "dog"]
    assert not found.problems
    assert not found.mended


def test_cvat_polygons_of_a_group_are_one_object(folder: Path) -> None:
    def part(x: int, label: str, group: int) -> str:
        corners = points([(x, 5), (x + 10, 5), (x + 10, 15), (x, 15)])
        return f'<polygon label="{label}" points="{corners}" group_id="{group}"/>'

    shapes = part(5, "cat", 3) + part(30, "cat", 3) + part(50, "dog", 3) + part(70, "cat", 0) + part(83, "cat", 0)
    found = read_coco(put(folder, "annotations.xml", cvat(shapes)))
    assert [int(mask.sum()) for mask in masks(found)] == [200, 100, 100, 100]


@pytest.mark.parametrize(
    "shape",
    [
        '<box label="cat" xtl="1" ytl="2" xbr="30" ybr="40"/>',
        f'<polyline label="cat" points="{points(CORNERS)}"/>',
        '<points label="cat" points="3,4"/>',
        '<cuboid label="cat" xtl1="1"/>',
        '<mask label="cat" rle="1, 2" left="20" top="30" width="3" height="2"/>',
        '<polygon label="cat"/>',
    ],
)
def test_cvat_shapes_that_are_no_masks_are_named(folder: Path, shape: str) -> None:
    found = read_coco(put(folder, "annotations.xml", cvat(shape + POLYGON)))
    assert len(masks(found)) == 1
    (problem,) = found.problems
    assert (problem.kind, "annotation 1 (a.jpg)" in problem.source) == ("mask", True)


def test_a_cvat_ellipse_has_the_area_of_one(folder: Path) -> None:
    shape = '<ellipse label="cat" cx="40" cy="30" rx="20" ry="10" rotation="90"/>'
    (mask,) = masks(read_coco(put(folder, "annotations.xml", cvat(shape))))
    assert mask.sum() == pytest.approx(np.pi * 200, rel=0.03)
    assert np.flatnonzero(mask.any(axis=1)).size > np.flatnonzero(mask.any(axis=0)).size, "turned by 90 degrees"


def test_cvat_for_videos_is_named(folder: Path) -> None:
    path = put(folder, "annotations.xml", "<annotations><meta/><track id='0'><box frame='0'/></track></annotations>")
    with pytest.raises(InputError, match='tracks of a video; export it from CVAT as "CVAT for images"'):
        read_coco(path)


def voc(objects: str) -> str:
    size = f"<size><width>{W}</width><height>{H}</height><depth>3</depth></size>"
    head = f"<folder>VOC</folder><filename>a.jpg</filename>{size}<segmented>1</segmented>"
    return f"<annotation>{head}{objects}</annotation>"


def voc_object(name: str, more: str = "") -> str:
    box = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>"
    return f"<object><name>{name}</name>{box}{more}</object>"


def voc_folder(tmp_path: Path, *, kind: str = "SegmentationObject") -> Path:
    root = tmp_path / "VOC2012"
    for name in ("JPEGImages", "Annotations", kind, "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    (root / "JPEGImages" / "a.jpg").write_bytes(encoded(np.full((H, W, 3), 90, dtype=np.uint8), "JPEG"))
    numbers = np.zeros((H, W), dtype=np.uint8)
    numbers[square()], numbers[square(60, 20, 80, 30)], numbers[:, 55] = 1, 2, 255
    picture = Image.fromarray(numbers, mode="P")
    picture.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    picture.save(root / kind / "a.png")
    put(root, "Annotations/a.xml", voc(voc_object("cat") + voc_object("dog")))
    put(root, "ImageSets/Segmentation/train.txt", "a\n")
    return root


def test_voc_objects_are_those_of_the_png(empty_store: Store, tmp_path: Path) -> None:
    root = voc_folder(tmp_path)
    report = ingest(empty_store, [root])
    assert (report.added, report.masks) == (1, 2), report.rejected
    assert not report.rejected
    rows = empty_store.read_table("ground_truth").to_pylist()
    assert sorted((row["label"], row["area"]) for row in rows) == [("cat", 1200), ("dog", 200)]


def test_voc_with_classes_alone_names_each_object_and_takes_no_mask_for_a_picture(
    empty_store: Store, tmp_path: Path
) -> None:
    report = ingest(empty_store, [voc_folder(tmp_path, kind="SegmentationClass")])
    assert (report.added, report.masks, len(report.rejected)) == (1, 0, 2)


def test_voc_objects_that_the_file_does_not_list_come_in_too(tmp_path: Path) -> None:
    root = voc_folder(tmp_path)
    path = put(root, "Annotations/a.xml", voc(voc_object("cat")))
    found = read_coco(path, images_root=root / "JPEGImages")
    assert [int(mask.sum()) for mask in masks(found)] == [1200, 200]
    assert labels(found) == ["cat", ""]


@pytest.mark.parametrize(
    "polygon",
    [
        "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(CORNERS, start=1)),
        "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in CORNERS),
    ],
    ids=["RectLabel and Roboflow", "LabelMe"],
)
def test_polygons_in_the_form_of_voc_are_read(folder: Path, polygon: str) -> None:
    found = read_coco(put(folder, "a.xml", voc(voc_object("cat", f"<polygon>{polygon}</polygon>") + voc_object("box"))))
    assert np.array_equal(masks(found)[0], square())
    (problem,) = found.problems
    assert problem.kind == "mask"


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


@pytest.mark.parametrize("form", ["labelme", "voc"])
def test_a_picture_that_was_renamed_with_its_label_file(folder: Path, form: str) -> None:
    corners = [list(corner) for corner in CORNERS]
    shapes = [{"label": "cat", "points": corners, "shape_type": "polygon", "group_id": None}]
    labelme: Any = {"shapes": shapes, "imagePath": "IMG_1.jpg", "imageHeight": H, "imageWidth": W}
    polygon = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in CORNERS)
    as_voc = voc(voc_object("cat", f"<polygon>{polygon}</polygon>")).replace("a.jpg", "IMG_1.jpg")
    path = put(folder, "a.json", labelme) if form == "labelme" else put(folder, "a.xml", as_voc)
    found = read_coco(path)
    assert np.array_equal(masks(found)[0], square())
    assert found.mended == {"picture by the label file's own name": 1}
    other = read_coco(path.rename(folder / f"b{path.suffix}"))
    assert [problem.kind for problem in other.problems] == ["image"]


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
