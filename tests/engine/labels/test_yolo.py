import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.ingest import ingest
from engine.labels.yolo import read_yolo
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


@pytest.mark.parametrize("text", ["a note\n", "1.5 0 0 1 0 1 1\n", "Car 0 1 5 70 80\n"])
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


@pytest.mark.parametrize("text", ["1 2 3\n", "1 0 0 50 0 50 50\n"])
def test_numbers_that_are_no_objects_are_named(text: str, empty_store: Store, tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"a": text})
    report = ingest(empty_store, [folder])
    assert (report.added, report.masks) == (1, 0)
    (problem,) = report.rejected
    assert problem.source == str(folder / "labels" / "a.txt")
    assert "no YOLO file" in problem.reason


def test_a_bad_line_does_not_lose_the_good_ones(empty_store: Store, tmp_path: Path) -> None:
    report = ingest(empty_store, [yolo_set(tmp_path, {"a": f"{POLYGON}\n1 0.5 0.5\n"})])
    assert (report.added, report.masks) == (1, 1)
    assert [problem.reason for problem in report.rejected] == ["line 2: neither a box nor an outline"]


OF_PREDICTIONS = "1 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75 0.87\n0 0.5 0.5 0.2 0.2 0.4\n"


@pytest.mark.parametrize("text", [POLYGON, OF_PREDICTIONS, POLYGON.replace("1 ", "cat ", 1), POLYGON.replace(" ", ",")])
def test_other_ways_to_write_an_outline(text: str, empty_store: Store, tmp_path: Path) -> None:
    report = ingest(empty_store, [yolo_set(tmp_path, {"a": text})])
    (row,) = empty_store.read_table(GROUND_TRUTH).to_pylist()
    np.testing.assert_array_equal(rle_codec.decode(Rle.of_row(row)), square())
    assert any("confidence" in note for note in report.notes) == (text == OF_PREDICTIONS)


TURNED = "0 0.5 0.25 0.6666667 0.5 0.5 0.75 0.3333333 0.5"  # a square on its tip, of 96 x 64 px
QUADRANGLE = "0 0.1 0.1 0.9 0.2 0.8 0.9 0.3 0.6"
MANY = "\n".join([QUADRANGLE] * 60)


@pytest.mark.parametrize(
    ("name", "text", "settings", "masks"),
    [
        ("set", TURNED, "names: [a]", 0),
        ("set", TURNED, "names: [a]\ntask: segment", 1),
        ("set-seg", TURNED, "names: [a]", 1),
        ("set", POLYGON, "names: [a, b]", 1),
        ("set", QUADRANGLE, "names: [a]", 1),
        ("set", MANY, "names: [a]", 0),
        ("set", QUADRANGLE, "names: [a]\ntask: obb", 0),
        ("plates.v3i.yolov8-obb", POLYGON, "names: [a, b]", 0),
        ("set", f"{TURNED}\n1 0.1 0.1 0.9 0.1 0.5 0.9", "names: [a]", 2),
    ],
)
def test_oriented_boxes_are_no_masks(
    name: str, text: str, settings: str, masks: int, empty_store: Store, tmp_path: Path
) -> None:
    report = ingest(empty_store, [yolo_set(tmp_path, {"a": text}, name=name, settings=settings)])
    assert (report.added, report.masks) == (1, masks)
    assert len(report.rejected) == (0 if masks else len(text.splitlines()))
    assert all("sam-engine masks makes masks of boxes" in problem.reason for problem in report.rejected)
    assert any("oriented boxes" in note and "task: segment" in note for note in report.notes) == (not masks)


@pytest.mark.parametrize("settings", ["names: [a]\nkpt_shape: [2, 3]", "names: [a]"])
def test_keypoints_are_boxes(settings: str, empty_store: Store, tmp_path: Path) -> None:
    text = "0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 1\n0 0.4 0.5 0.2 0.2 0.4 0.4 0 0.6 0.6 1\n"
    report = ingest(empty_store, [yolo_set(tmp_path, {"a": text}, settings=settings)])
    assert (report.added, report.masks, len(report.rejected)) == (1, 0, 2)
    assert all("boxes, points and lines are no masks" in problem.reason for problem in report.rejected)


def test_texts_are_found_in_other_folders_and_lonely_ones_are_named(empty_store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "predict"
    for name in ("one.png", "two.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(shapes(len(name))[0]))
    for name in ("one", "lost"):
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{name}.txt").write_text(POLYGON)
    report = ingest(empty_store, [folder])
    assert report.masks == 1
    (problem,) = report.rejected
    assert problem.source == str(folder / "labels" / "lost.txt")
    assert "no picture has the name lost" in problem.reason


def test_the_classes_of_label_studio_and_labelimg_are_names(empty_store: Store, tmp_path: Path) -> None:
    folder = yolo_set(tmp_path, {"a": POLYGON}, settings="")
    (folder / "classes.txt").write_text("dog\ncat\n")
    assert ingest(empty_store, [folder]).ignored == 0
    assert [row["label"] for row in empty_store.read_table(GROUND_TRUTH).to_pylist()] == ["cat"]


def yolo_set(tmp_path: Path, texts: dict[str, str], *, name: str = "set", settings: str = "names: [dog, cat]") -> Path:
    folder = tmp_path / name
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number, (stem, text) in enumerate(texts.items()):
        (folder / "images" / f"{stem}.png").write_bytes(encoded(shapes(number)[0]))
        (folder / "labels" / f"{stem}.txt").write_text(text)
    if settings:
        (folder / "data.yaml").write_text(settings)
    return folder


def test_outlines_are_never_all_in_memory(tmp_path: Path) -> None:
    """40 texts of 10,000 numbers each would be 13 MB as Python's numbers."""
    outline = " ".join(f"{0.5 + 0.4 * np.cos(turn):.4f} {0.5 + 0.4 * np.sin(turn):.4f}" for turn in np.arange(5000))
    folder = yolo_set(tmp_path, {f"{number}": f"0 {outline}\n" for number in range(40)})
    files = [path for path in folder.rglob("*") if path.is_file()]
    tracemalloc.start()
    found = read_yolo(files, folder)
    assert found is not None
    count = sum(len(record["segmentation"][0]) for record in found.content["annotations"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40 * 10_000
    assert peak < 4e6
