import pytest

from engine.labels.yolo_text import Line, Read, has_keypoints, numbers_of, read_lines, task_of, why_oriented

OUTLINE = "1 0.1 0.1 0.5 0.1 0.5 0.5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OUTLINE, Read([Line(1, "1", (0.1, 0.1, 0.5, 0.1, 0.5, 0.5))], [])),
        ("\n2.0 0.5 0.5 0.1 0.1\n", Read([Line(2, "2", (0.5, 0.5, 0.1, 0.1))], [])),
        ("0 0.5 0.5 0.1 0.1 0.9", Read([Line(1, "0", (0.5, 0.5, 0.1, 0.1))], [], scored=True)),
        (f"{OUTLINE}\n{OUTLINE} 0.9", Read([Line(1, "1", (0.1, 0.1, 0.5, 0.1, 0.5, 0.5))], [2])),
        ("0 5 5 7 7", Read([], [1])),
        ("", Read([], [])),
        ("a photograph", None),
        ("0 0.1 0.1 word 0.1", None),
        ("-1 0.5 0.5 0.1 0.1", None),
        ("Car 5 5 7 7", None),
    ],
)
def test_what_lines_hold(text: str, expected: Read | None) -> None:
    assert read_lines(text) == expected


def test_numbers_behind_a_box_are_keypoints_where_all_lines_have_them() -> None:
    pose = "0 0.5 0.5 0.1 0.1 0.4 0.4 2 0.6 0.6 1"
    assert has_keypoints(numbers_of(pose))
    assert not has_keypoints(numbers_of(f"{pose}\n{OUTLINE}"))
    assert not has_keypoints(numbers_of(OUTLINE))
    assert not has_keypoints([])
    read = read_lines(pose, keypoint_numbers=6)
    assert read is not None
    assert read.lines == [Line(1, "0", (0.5, 0.5, 0.1, 0.1))]


@pytest.mark.parametrize(
    ("settings", "folders", "task"),
    [
        ({"task": "segment"}, ["yolov8-obb"], "segment"),
        ({"kpt_shape": [17, 3]}, [], "pose"),
        ({}, ["DOTAv1"], "obb"),
        ({}, ["coco8-seg", "images"], "segment"),
        ({}, ["images", "robber"], None),
    ],
)
def test_the_task_is_told_by_settings_or_folders(settings: dict[str, object], folders: list[str], task: str) -> None:
    assert task_of(settings, folders) == task


def test_a_rectangle_is_told_in_pixels() -> None:
    """Turned by 45 degrees on a picture twice as wide as high, its shares are no rectangle's."""
    line = Line(1, "0", (0.5, 0.2, 0.65, 0.5, 0.5, 0.8, 0.35, 0.5))
    assert why_oriented([(line, 100, 200)], None)
    assert not why_oriented([(line, 100, 800)], None)
    assert not why_oriented([(line, 100, 200)], "segment")
    assert not why_oriented([], None)
