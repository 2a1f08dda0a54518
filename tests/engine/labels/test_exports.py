"""Files written by datumaro and supervision themselves (`exports/README.md`), taken as folders."""

from pathlib import Path

import pytest

from engine.ingest import ingest
from engine.store import Store

EXPORTS = Path(__file__).parent / "exports"
TOLD = [("cat", 1200), ("cat", 1200), ("dog", 200), ("dog", 200)]
UNTOLD = [("", 200), ("", 200), ("", 1200), ("", 1200)]  # PNG files alone name no classes
OF_CORNERS = [("cat", 1131), ("dog", 171)]  # supervision's corners are centres of pixels


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("datumaro_mask_voc", UNTOLD),
        ("datumaro_mask_label_me", TOLD),
        ("datumaro_mask_open_images", TOLD),
        ("datumaro_mask_cityscapes", UNTOLD),
        ("datumaro_mask_kitti", UNTOLD),
        ("datumaro_mask_cvat", TOLD),
        ("datumaro_poly_cvat", TOLD),
        ("datumaro_mask_datumaro", TOLD),
        ("supervision_sv_voc", TOLD[1:3]),
        ("supervision_sv_yolo", OF_CORNERS),
    ],
)
def test_what_tools_export_comes_in_as_they_mean_it(
    empty_store: Store, name: str, expected: list[tuple[str, int]]
) -> None:
    report = ingest(empty_store, [EXPORTS / name])
    rows = empty_store.read_table("ground_truth").to_pylist()
    assert sorted((row["label"], row["area"]) for row in rows) == expected
    assert report.added == len({row["image_id"] for row in rows}) == len(expected) // 2, "no mask is a picture"
    assert report.duplicates == 0
    assert {problem.kind for problem in report.rejected} <= {"file"}, report.rejected


@pytest.mark.parametrize(
    ("name", "expected", "rejected"),
    [
        ("darwin_native", [("cat", 328), ("dog", 100), ("ring", 384)], 0),
        ("darwin_coco", [("cat", 373), ("dog", 100), ("ring", 384)], 0),  # its own pixels of the outline
        ("labelme_pic", [("cat", 353), ("dog", 384)], 1),  # an oriented rectangle
        ("ultralytics_from_coco", [("0", 353), ("1", 200)], 0),
    ],
)
def test_a_picture_with_holes_and_parts(
    empty_store: Store, name: str, expected: list[tuple[str, int]], rejected: int
) -> None:
    report = ingest(empty_store, [EXPORTS / name])
    rows = empty_store.read_table("ground_truth").to_pylist()
    assert sorted((row["label"], row["area"]) for row in rows) == expected
    assert (report.added, report.crowds, len(report.rejected)) == (1, 0, rejected)


@pytest.mark.parametrize(
    ("name", "labels", "named"),
    [
        ("supervisely_native", ["dog", "cat", "cat"], {"meta.json"}),
        ("supervisely_segm", ["dog", "cat", "cat"], {"meta.json", "leer.jpg.png"}),
        ("supervisely_voc", ["", "", ""], {"ds0_straße 1.xml", "ds0_b.xml"}),  # boxes in its XML
        ("datumaro_mask_panoptic", ["dog", "cat", "cat"], set()),
    ],
)
def test_a_ring_two_parts_and_an_empty_picture(
    empty_store: Store, name: str, labels: list[str], named: set[str]
) -> None:
    """A ring of 464 px and two parts of 220 px on one picture, a corner of 320 px on the second, none on the third."""
    report = ingest(empty_store, [EXPORTS / name])
    rows = sorted(empty_store.read_table("ground_truth").to_pylist(), key=lambda row: row["area"])
    assert [row["area"] for row in rows] == [220, 320, 464]
    assert [row["label"] for row in rows] == labels
    assert rows[0]["image_id"] == rows[2]["image_id"] != rows[1]["image_id"]
    assert report.added == empty_store.images().num_rows == 3, "no mask is a picture"
    assert {Path(problem.source.partition(": ")[0]).name for problem in report.rejected} == named


def test_masks_of_classes_alone_are_named_and_are_no_pictures(empty_store: Store) -> None:
    report = ingest(empty_store, [EXPORTS / "datumaro_mask_camvid"])
    assert (report.added, report.masks) == (2, 0)
    assert [problem.kind for problem in report.rejected] == ["mask", "mask"]
    assert all("classes or objects" in problem.reason for problem in report.rejected)
