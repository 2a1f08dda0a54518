from typing import Any

import pytest

from engine.labels.crowds import CrowdFlags, Crowds, is_flagged

RLE, POLYGON = {"size": [2, 2], "counts": [0, 4]}, [[0, 0, 2, 0, 2, 2]]
OF_DATUMARO = {"id": 1, "license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
OF_SUPERVISION = {"id": 1, "license": 1, "file_name": "a.jpg", "date_captured": "11/28/2026,19:56:41"}
OF_COCO = {"id": 1, "license": 3, "coco_url": "http://images.cocodataset.org/a.jpg", "date_captured": "2013-11-14"}


def masks(*kinds: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"segmentation": segmentation, "iscrowd": flag} for segmentation, flag in kinds]


def believed(images: list[Any], annotations: list[Any], crowds: Crowds = "auto") -> tuple[bool, str]:
    flags = CrowdFlags()
    for annotation in annotations:
        flags.add(annotation)
    return flags.believed(images, crowds)


@pytest.mark.parametrize("value", [0, 0.0, False, None, "", "0", "false", "False", "no"])
def test_texts_that_say_no_are_no_crowds(value: Any) -> None:
    assert not is_flagged({"iscrowd": value})


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "true"])
def test_what_says_yes_is_flagged(value: Any) -> None:
    assert is_flagged({"iscrowd": value})


@pytest.mark.parametrize(
    ("image", "annotations", "are_crowds"),
    [
        (OF_COCO, masks((POLYGON, 0), (RLE, 1)), True),
        ({"id": 1}, masks((POLYGON, 0), (RLE, 1)), True),
        (OF_DATUMARO, masks((POLYGON, 0), (RLE, 1)), False),
        (OF_DATUMARO, masks((RLE, 0), (RLE, 1)), True),
        (OF_SUPERVISION, masks((POLYGON, 0), (RLE, 1)), False),
        ({"id": 1}, masks((RLE, 1), (RLE, "1")), False),
        ({"id": 1, "darwin_workview_url": ""}, masks((RLE, 0), (RLE, 1)), False),
        (OF_COCO, masks((POLYGON, 0), (RLE, "0")), True),
    ],
)
def test_a_crowd_is_what_stands_out_in_its_file(image: Any, annotations: Any, are_crowds: bool) -> None:
    found, note = believed([image], annotations)
    assert found == are_crowds
    assert bool(note) == (not are_crowds)


def test_the_user_has_the_last_word() -> None:
    assert believed([{}], masks((RLE, 1)), "drop") == (True, "")
    assert believed([OF_COCO], masks((POLYGON, 0), (RLE, 1)), "keep") == (False, "")
