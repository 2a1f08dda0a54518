"""What Label Studio's own converter writes of one task with a brush stroke, an outline and a box."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter import Converter, brush
from label_studio_sdk.converter.brush import mask2rle
from label_studio_sdk.converter.converter import Format

from engine import rle as rle_codec
from engine.ingest import ingest
from engine.labels.label_studio_min import LabelStudioMinImporter
from engine.store import Store
from schemas.rle import Rle
from tests.pictures import encoded, shapes

H, W = 64, 96
OUTLINE = [(12, 16), (48, 16), (48, 32), (12, 32)]
KINDS = {"tag": "BrushLabels", "poly": "PolygonLabels", "rect": "RectangleLabels"}
LABELS = "".join(f'<{kind} name="{name}" toName="image"><Label value="cat"/></{kind}>' for name, kind in KINDS.items())


def ring() -> np.ndarray:
    rows, columns = np.mgrid[:H, :W]
    return np.asarray(abs(np.hypot(rows - 40, columns - 70) - 12) <= 4)


def square() -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[16:32, 12:48] = True
    return mask


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Tasks as the server keeps them, with the picture that people uploaded."""
    points = [[100 * x / W, 100 * y / H] for x, y in OUTLINE]
    values: dict[str, Any] = {
        "tag": {"format": "rle", "rle": mask2rle(ring().astype(np.uint8) * 255), "brushlabels": ["cat"]},
        "poly": {"points": points, "closed": True, "polygonlabels": ["cat"]},
        "rect": {"x": 60, "y": 5, "width": 20, "height": 20, "rotation": 30, "rectanglelabels": ["cat"]},
    }
    size = {"original_width": W, "original_height": H, "image_rotation": 0, "to_name": "image"}
    results = [
        {"id": name, "from_name": name, "type": KINDS[name].lower(), "value": value, **size}
        for name, value in values.items()
    ]
    times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "lead_time": 1}
    annotation = {"id": 5, "completed_by": {"email": "a@b.c"}, "result": results, "was_cancelled": False, **times}
    data = {"aside": "no picture", "image": "/data/upload/1/abc-a.png"}
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{"id": 1, "data": data, "annotations": [annotation], "predictions": [], **times}]))
    (tmp_path / "upload" / "1").mkdir(parents=True)
    (tmp_path / "upload" / "1" / "abc-a.png").write_bytes(encoded(shapes(0)[0]))
    return path


def export(tasks: Path, form: str) -> Path:
    """A folder with what the converter writes, and the picture beside it."""
    upload, out = tasks.parent / "upload", tasks.parent / "out"
    config = f'<View><Image name="image" value="$image"/>{LABELS}</View>'
    made = Converter(config, project_dir=str(tasks.parent), upload_dir=str(upload), download_resources=False)
    made.convert(str(tasks), str(out), Format[form], is_dir=False)
    (out / "images").mkdir(exist_ok=True)
    shutil.copy(upload / "1" / "abc-a.png", out / "images")
    return out


def came_in(store: Store) -> list[np.ndarray]:
    rows = store.read_table("ground_truth").to_pylist()
    assert {row["label"] for row in rows} <= {"cat"}
    return sorted((rle_codec.decode(Rle.of_row(row)) for row in rows), key=lambda mask: int(mask.sum()))


@pytest.mark.parametrize("form", ["JSON", "JSON_MIN", "CSV", "TSV"])
def test_forms_that_hold_everything_give_every_mask(empty_store: Store, tasks: Path, form: str) -> None:
    report = ingest(empty_store, [export(tasks, form)])
    assert (report.added, report.masks) == (1, 2)
    np.testing.assert_array_equal(came_in(empty_store), sorted([ring(), square()], key=lambda mask: int(mask.sum())))
    (problem,) = report.rejected
    assert "boxes, points and lines are no masks" in problem.reason
    assert {row["annotator"] for row in empty_store.read_table("ground_truth").to_pylist()} == {"imported-a@b.c"}


@pytest.mark.parametrize("form", ["COCO", "YOLO"])
def test_forms_of_outlines_give_these(empty_store: Store, tasks: Path, form: str) -> None:
    ingest(empty_store, [export(tasks, form)])
    np.testing.assert_array_equal(came_in(empty_store), [square()])


def test_its_oriented_boxes_are_no_masks(empty_store: Store, tasks: Path) -> None:
    folder = export(tasks, "YOLO_OBB")
    report = ingest(empty_store, [folder.rename(folder.with_name("project-1-yolo-obb"))])
    assert (report.added, report.masks) == (1, 0)


@pytest.mark.parametrize("form", ["png", "numpy"])
def test_its_brush_files_are_no_pictures(empty_store: Store, tasks: Path, form: str) -> None:
    folder = export(tasks, "JSON_MIN")
    (folder / "result.json").unlink()
    converter = Converter("<View/>", project_dir=str(tasks.parent))
    brush.convert_task_dir(converter.iter_from_json_file(str(tasks)), str(folder), out_format=form)
    report = ingest(empty_store, [folder])
    assert (report.added, report.masks) == (1, 0)
    assert any("export the project as JSON" in problem.reason for problem in report.rejected)


def test_two_people_on_one_picture_and_cells_that_are_none(tmp_path: Path) -> None:
    value = {"points": [[10, 10], [50, 10], [50, 50]], "polygonlabels": ["cat"], "original_width": W}
    value["original_height"] = H
    records = [
        {"annotation_id": number, "annotator": number, "image": "a.png", "poly": cell}
        for number, cell in ((1, [value]), (2, json.dumps([value])), (3, "[no json"), (4, "a choice"), (5, [3]))
    ]
    importer = LabelStudioMinImporter()
    assert importer.recognises(records)
    content = importer.read(records, tmp_path / "a.json").content
    assert [image["file_name"] for image in content["images"]] == ["a.png"]
    assert [(each["image_id"], each["annotator"]) for each in content["annotations"]] == [(0, "1"), (0, "2")]
    assert not importer.recognises([{"annotation_id": 1}])
    assert not importer.recognises([])
