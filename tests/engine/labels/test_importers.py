import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import rle as rle_codec
from engine.coco import read_coco
from engine.ingest import ingest
from engine.labeling.brush import encode_brush
from engine.labels.importers import IMPORTERS, Imported, to_coco
from engine.store import Store
from schemas.errors import InputError
from tests.pictures import encoded

H, W = 64, 96
CORNERS = [[10, 10], [50, 10], [50, 40], [10, 40]]


def square() -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[10:40, 10:50] = True
    return mask


POLYGON = [[float(number) for corner in CORNERS for number in corner]]
RLE = rle_codec.encode(square()).to_coco()


def detectron2(folder: Path) -> Path:
    record = {"file_name": "a.jpg", "height": H, "width": W, "image_id": 1}
    return write(folder, [record | {"annotations": [{"segmentation": POLYGON, "bbox_mode": 1, "category_id": 0}]}])


def sa1b(folder: Path) -> Path:
    image = {"image_id": 5, "width": W, "height": H, "file_name": "a.jpg"}
    return write(folder, {"image": image, "annotations": [{"id": 50, "segmentation": RLE, "predicted_iou": 0.9}]})


def labelme(folder: Path, shape: dict[str, Any] | None = None) -> Path:
    shapes = [shape or {"label": "cat", "points": CORNERS, "group_id": None, "shape_type": "polygon"}]
    return write(folder, {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": H, "imageWidth": W})


def labelme_mask(folder: Path) -> Path:
    crop = base64.b64encode(encoded(np.full((30, 40), 255, dtype=np.uint8))).decode()
    return labelme(folder, {"label": "cat", "points": [[10, 10], [49, 39]], "shape_type": "mask", "mask": crop})


def via(folder: Path) -> Path:
    shape = {"name": "polygon", "all_points_x": [10, 50, 50, 10], "all_points_y": [10, 10, 40, 40]}
    regions = [{"shape_attributes": shape, "region_attributes": {"kind": "cat"}}]
    return write(folder, {"a.jpg12": {"filename": "a.jpg", "size": 12, "regions": regions, "file_attributes": {}}})


def via_project(folder: Path) -> Path:
    pictures = json.loads(via(folder).read_text())
    return write(folder, {"_via_settings": {}, "_via_img_metadata": pictures})


def panoptic(folder: Path) -> Path:
    colours = np.zeros((H, W, 3), dtype=np.uint8)
    colours[square()] = (5, 1, 0)  # 5 + 256
    (folder / "labels").mkdir()
    (folder / "labels" / "a.png").write_bytes(encoded(colours))
    segment = {"id": 261, "category_id": 1}
    return write(
        folder,
        {"images": [{"id": 1, "file_name": "a.jpg", "width": W, "height": H}]}
        | {"annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [segment]}]},
    )


def open_images(folder: Path) -> Path:
    (folder / "a_m01_1.png").write_bytes(encoded(square().astype(np.uint8) * 255))
    path = folder / "labels.csv"
    path.write_text("MaskPath,ImageID,LabelName\na_m01_1.png,a,/m/01\n")
    return path


def label_studio(folder: Path, value: dict[str, Any] | None = None) -> Path:
    brush = {"format": "rle", "rle": encode_brush(square()), "brushlabels": ["cat"]}
    result = {"id": "q", "type": "brushlabels", "original_width": W, "original_height": H, "value": value or brush}
    other = {"id": "c", "type": "choices", "value": {"choices": ["good"]}}
    annotation = {"id": 1, "completed_by": 3, "was_cancelled": False, "result": [result, other]}
    cancelled = annotation | {"was_cancelled": True}
    data = {"image": "/data/upload/1/a.jpg"}
    return write(folder, [{"id": 1, "data": data, "annotations": [annotation, cancelled], "predictions": []}])


def label_studio_polygon(folder: Path) -> Path:
    points = [[100 * x / W, 100 * y / H] for x, y in CORNERS]
    return label_studio(folder, {"points": points, "closed": True, "polygonlabels": ["cat"]})


FORMS = [detectron2, sa1b, labelme, labelme_mask, via, via_project, panoptic, open_images]
FORMS += [label_studio, label_studio_polygon]


def write(folder: Path, content: Any) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encoded(np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)))
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_its_mask(folder: Path, form: Any) -> None:
    dataset = read_coco(form(folder))
    assert dataset.problems == []
    assert [image.path for image in dataset.images] == [folder / "a.jpg"]
    masks = [rle_codec.decode(mask.rle) for mask in dataset.images[0].masks]
    np.testing.assert_array_equal(masks, [square()])


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_is_taken_as_a_whole(empty_store: Store, folder: Path, form: Any) -> None:
    form(folder)
    report = ingest(empty_store, [folder])
    assert (report.added, report.masks, report.duplicates, report.rejected) == (1, 1, 0, [])


def test_a_broken_label_file_does_not_lose_its_folder(empty_store: Store, folder: Path) -> None:
    labelme(folder)
    (folder / "cut.json").write_text("{")
    report = ingest(empty_store, [folder])
    assert (report.added, report.masks) == (1, 1)
    assert [problem.source for problem in report.rejected] == [str(folder / "cut.json")]


@pytest.mark.parametrize("kind", ["rectangle", "point", "line", "linestrip", "mask", "unheard of"])
def test_shapes_that_are_no_masks_are_named(folder: Path, kind: str) -> None:
    dataset = read_coco(labelme(folder, {"label": "cat", "points": [[1, 1], [9, 9]], "shape_type": kind}))
    assert [problem.kind for problem in dataset.problems] == ["mask"]


def test_a_circle_has_the_area_of_one(folder: Path) -> None:
    path = labelme(folder, {"label": "x", "points": [[40, 30], [60, 30]], "shape_type": "circle"})
    (mask,) = read_coco(path).images[0].masks
    assert rle_codec.area(mask.rle) == pytest.approx(np.pi * 20**2, rel=0.02)


def test_shapes_of_a_group_are_one_object(folder: Path) -> None:
    path = labelme(folder)
    content = json.loads(path.read_text())
    other = [[60, 10], [70, 10], [70, 20], [60, 20]]
    content["shapes"] = [
        {"label": "cat", "points": points, "group_id": 3, "shape_type": "polygon"} for points in (CORNERS, other)
    ]
    path.write_text(json.dumps(content))
    (mask,) = read_coco(path).images[0].masks
    assert rle_codec.area(mask.rle) == 40 * 30 + 10 * 10


def test_an_ellipse_of_label_studio_has_the_area_of_one(folder: Path) -> None:
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 25, "rotation": 30, "ellipselabels": ["cat"]}
    (mask,) = read_coco(label_studio(folder, value)).images[0].masks
    assert (mask.label, mask.annotator) == ("cat", "3")
    assert rle_codec.area(mask.rle) == pytest.approx(np.pi * 0.2 * W * 0.25 * H, rel=0.03)


@pytest.mark.parametrize("value", [{"x": 1, "y": 1, "width": 5, "height": 5}, {"rle": [1, 2]}, {"points": [[1]]}, {}])
def test_what_is_no_mask_in_label_studio_is_named(folder: Path, value: dict[str, Any]) -> None:
    dataset = read_coco(label_studio(folder, value or {"x": 1}))
    assert [problem.kind for problem in dataset.problems] == ["mask"]


@pytest.mark.parametrize("png", ["../secret.png", "gone.png"])
def test_mask_pictures_outside_of_the_folder_are_not_read(folder: Path, png: str) -> None:
    path = panoptic(folder)
    (folder.parent / "secret.png").write_bytes((folder / "labels" / "a.png").read_bytes())
    path.write_text(path.read_text().replace('"a.png"', json.dumps(png)))
    dataset = read_coco(path)
    assert dataset.images[0].masks == []
    assert [problem.kind for problem in dataset.problems] == ["mask"]


_JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.sampled_from(
    [
        "shapes",
        "imagePath",
        "image",
        "annotations",
        "file_name",
        "filename",
        "regions",
        "segments_info",
        "points",
        "shape_type",
        "MaskPath",
        "ImageID",
        "id",
        "image_id",
        "shape_attributes",
        "name",
        "group_id",
        "label",
        "data",
        "result",
        "value",
        "rle",
    ]
)
_LIKE = st.recursive(
    _JSON | st.sampled_from(["polygon", "circle", "mask", "ellipse"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(content=_LIKE)
def test_any_json_is_taken_or_refused(content: Any) -> None:
    with contextlib.suppress(InputError):
        to_coco(content, Path("labels.json"))


def test_values_of_unknown_kinds_are_named_and_end_no_batch(
    empty_store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(content: Any, path: Path) -> Imported:
        raise TypeError("unhashable\ntype")

    monkeypatch.setattr(IMPORTERS["sa1b"], "read", fails)
    path = sa1b(folder)
    report = ingest(empty_store, [folder])
    assert report.added == 1
    (problem,) = report.rejected
    assert problem.source == str(path)
    assert problem.reason == "of the form sa1b, but not as it has to be (TypeError: unhashable type); export it again"


def test_built_in_importers_are_found_by_name() -> None:
    assert list(IMPORTERS)[:6] == ["detectron2", "sa1b", "labelme", "via", "panoptic", "label-studio"]
