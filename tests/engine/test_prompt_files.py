import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.prompt_files import PromptFile, folder_of, read_prompt_file
from schemas.errors import InputError

IMAGES = [{"id": 7, "file_name": "a.jpg", "width": 90, "height": 60}]


def written(folder: Path, content: Any, name: str = "prompts.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def boxes(found: PromptFile) -> dict[str, list[Any]]:
    return {name: [prompt.box for prompt in prompts] for name, prompts in found.prompts.items()}


def test_boxes_of_a_coco_file(tmp_path: Path) -> None:
    annotations = [
        {"id": 3, "image_id": 7, "category_id": 2, "bbox": [1, 2, 30, 40], "segmentation": []},
        {"id": 4, "image_id": 8, "bbox": [1, 2, 30, 40]},
        {"id": 5, "image_id": 7, "bbox": [1, 2, 30]},
        "text",
    ]
    categories = [{"id": 2, "name": "cat"}]
    path = written(tmp_path, {"images": IMAGES, "annotations": annotations, "categories": categories})
    found = read_prompt_file(path)
    assert boxes(found) == {"a.jpg": [(1, 2, 31, 42)]}
    assert found.prompts["a.jpg"][0].fields == {"id": 3, "category_id": 2}
    assert found.categories == categories
    assert [problem.source for problem in found.problems] == [f"{path}: annotation {number}" for number in (2, 3, 4)]


def test_detections_are_named_by_their_coco_file_or_by_their_ids(tmp_path: Path) -> None:
    path = written(tmp_path, [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}])
    names = written(tmp_path, {"images": IMAGES, "annotations": []}, "instances.json")
    assert boxes(read_prompt_file(path, names=names)) == {"a.jpg": [(1, 2, 4, 6)]}
    found = read_prompt_file(path)
    assert boxes(found) == {"000000000007.jpg": [(1, 2, 4, 6)]}
    assert found.prompts["000000000007.jpg"][0].fields == {"category_id": 1, "score": 0.5}
    assert found.prompts["000000000007.jpg"][0].image_id == 7
    assert found.prompts["000000000007.jpg"][0].mask is None
    mask = {"size": [4, 5], "counts": "0"}
    path = written(tmp_path, [{"image_id": "a", "bbox": [1, 2, 3, 4], "segmentation": mask}])
    (prompt,) = read_prompt_file(path).prompts["a"]
    assert (prompt.image_id, prompt.mask) == ("a", mask)
    assert prompt.fields == {}


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("file_name,x1,y1,x2,y2", "a.jpg,1,2,31,42"),
        ("Image, xmin, ymin, xmax, ymax", "a.jpg, 1, 2, 31, 42"),
        ("x,y,w,h,path", "1,2,30,40,a.jpg"),
        ("filename,x,y,width,height,label", "a.jpg,1,2,30,40,cat"),
    ],
)
def test_boxes_of_a_table(header: str, line: str, tmp_path: Path) -> None:
    found = read_prompt_file(written(tmp_path, f"{header}\n{line}\n", "boxes.csv"))
    assert boxes(found) == {"a.jpg": [(1, 2, 31, 42)]}
    assert found.prompts["a.jpg"][0].fields == ({"label": "cat"} if "label" in header else {})


def test_points_of_one_object_are_one_prompt(tmp_path: Path) -> None:
    text = "file_name,x,y,label,object\na.jpg,1,2,1,x\na.jpg,3,4,0,x\na.jpg,5,6,,y\nb.jpg,7,8,1,x\na.jpg,z,1,1,q\n"
    found = read_prompt_file(written(tmp_path, text, "points.csv"))
    assert [prompt.points for prompt in found.prompts["a.jpg"]] == [[(1, 2, 1), (3, 4, 0)], [(5, 6, 1)]]
    assert [prompt.points for prompt in found.prompts["b.jpg"]] == [[(7, 8, 1)]]
    assert [problem.source for problem in found.problems] == [f"{tmp_path}/points.csv: line 6"]
    alone = read_prompt_file(written(tmp_path, "image,x,y\na.jpg,1,2\na.jpg,3,4\n", "points.csv"))
    assert [prompt.points for prompt in alone.prompts["a.jpg"]] == [[(1, 2, 1)], [(3, 4, 1)]]


@pytest.mark.parametrize(
    ("text", "name"), [("[]", "a.json"), ("{}", "a.json"), ("[1]", "a.json"), ("a,b\n1,2\n", "a.csv"), ("", "a.csv")]
)
def test_other_files_are_refused(text: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name}: expected"):
        read_prompt_file(written(tmp_path, text, name))


VOC = (
    "<annotation><filename>a.jpg</filename><object><name>cat</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>31</xmax>"
    "<ymax>42</ymax></bndbox></object></annotation>"
)
CVAT = (
    '<annotations><meta/><image name="a.jpg" width="90" height="60">'
    '<box label="cat" xtl="1" ytl="2" xbr="31" ybr="42"/></image></annotations>'
)
LABELME = {
    "imagePath": "a.jpg",
    "shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[31, 42], [1, 2]]}],
}
VIA_RECT = {"name": "rect", "x": 1, "y": 2, "width": 30, "height": 40}
VIA = {"a": {"filename": "a.jpg", "regions": [{"shape_attributes": VIA_RECT, "region_attributes": {"kind": "cat"}}]}}
RECTANGLE = {"x": 100 / 90, "y": 200 / 60, "width": 3000 / 90, "height": 4000 / 60, "rectanglelabels": ["cat"]}
RESULT = {"type": "rectanglelabels", "value": RECTANGLE, "original_width": 90, "original_height": 60}
LABEL_STUDIO = [{"data": {"image": "a.jpg"}, "annotations": [{"result": [RESULT]}]}]


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.xml", VOC), ("b.xml", CVAT), ("a.json", LABELME), ("v.json", VIA), ("l.json", LABEL_STUDIO)],
)
def test_boxes_of_label_files_of_other_forms(tmp_path: Path, name: str, content: Any, as_folder: bool) -> None:
    path = written(tmp_path, content, name)
    found = read_prompt_file(tmp_path if as_folder else path)
    ((picture, (box,)),) = boxes(found).items()
    assert (picture, box) == ("a.jpg", pytest.approx((1, 2, 31, 42)))
    assert found.prompts["a.jpg"][0].fields == {"label": "cat"}


def test_boxes_of_a_folder_of_yolo(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (100, 50)).save(tmp_path / "images" / "a.jpg")
    written(tmp_path / "labels", "0 0.5 0.5 0.2 0.4\n1 0.5 0.2 0.7 0.4 0.5 0.6 0.3 0.4\n", "a.txt")
    written(tmp_path, "names: [cat, dog]\ntask: obb\n", "data.yaml")
    found = read_prompt_file(tmp_path)
    first, second = boxes(found)["images/a.jpg"]
    assert (first, second) == (pytest.approx((40, 15, 60, 35)), pytest.approx((30, 10, 70, 30)))
    assert [prompt.fields["label"] for prompt in found.prompts["images/a.jpg"]] == ["cat", "dog"]


def test_pictures_lie_beside_a_file_or_in_the_folder(tmp_path: Path) -> None:
    assert folder_of(written(tmp_path, [])) == folder_of(tmp_path) == tmp_path


def test_a_folder_without_boxes_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no boxes of YOLO"):
        read_prompt_file(tmp_path)


def test_what_detectors_say_in_words_is_kept_as_label(tmp_path: Path) -> None:
    names = ("phrase", "text_label", "category_name", "class_name")
    records = [{"image_id": "a.jpg", "bbox": [1, 2, 3, 4], name: f"red {name}"} for name in names]
    records.append({"image_id": "a.jpg", "bbox": [1, 2, 3, 4], "label": "car", "phrase": "red car"})
    records.append({"image_id": "a.jpg", "bbox": [1, 2, 3, 4], "phrase": 7})
    found = read_prompt_file(written(tmp_path, records)).prompts["a.jpg"]
    assert [prompt.fields.get("label") for prompt in found] == [*(f"red {name}" for name in names), "car", None]


def test_masks_of_detections_are_kept_whatever_names_their_pictures(tmp_path: Path) -> None:
    mask = {"size": [4, 5], "counts": "0"}
    path = written(tmp_path, [{"image_id": 7, "bbox": [1, 2, 3, 4], "segmentation": mask}])
    names = written(tmp_path, {"images": IMAGES, "annotations": []}, "instances.json")
    (prompt,) = read_prompt_file(path, names=names).prompts["a.jpg"]
    assert (prompt.mask, prompt.image_id) == (mask, None)
