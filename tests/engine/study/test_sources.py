"""Masks from COCO files, COCO results and releases."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rle
from engine.images import decode_image
from engine.release.build import build_release
from engine.store import Store
from engine.study.sources import Shown, open_source
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from tests.engine.release.conftest import make_store as make_store
from tests.engine.release.conftest import store as store
from tests.engine.release.conftest import templates as templates
from tests.stages.workspaces import shapes, write_pictures


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "in", images=2)


def changed(file: Path, name: str, change: Any) -> Path:
    values = json.loads(file.read_text())
    path = file.with_name(name)
    path.write_text(json.dumps(change(values)))
    return path


def shown(file: Path, wanted: set[str], **options: Any) -> dict[str, dict[str, Shown]]:
    source = open_source(file, **options)
    return {name: masks for name, _, masks in source.pictures(wanted)}


def test_a_coco_file(coco: Path) -> None:
    source = open_source(coco)
    known = source.masks()
    assert [(one.picture, one.object_id) for one in known] == [
        *(("0", str(number)) for number in range(3)),
        *(("1", str(number)) for number in range(3, 6)),
    ]
    assert [one.short_px for one in known[:2]] == [12, 8]
    ((name, pixels, masks),) = source.pictures({"1"})
    assert name == "1"
    assert np.array_equal(pixels(), decode_image(coco.parent / "1.png"))
    assert [rle.decode(one.rle).tolist() for one in masks.values()] == [mask.tolist() for mask in shapes(1)[1]]
    assert all(one.points == () for one in masks.values())


def test_points_are_those_of_sa_1b_and_crowds_are_left_out(coco: Path) -> None:
    def change(values: dict[str, Any]) -> dict[str, Any]:
        values["annotations"][0]["point_coords"] = [[3, 4.5]]
        values["annotations"][1]["iscrowd"] = 1
        return values

    masks = shown(changed(coco, "points.json", change), {"0"})["0"]
    assert {key: one.points for key, one in masks.items()} == {"0": ((3.0, 4.5),), "2": ()}


def test_coco_results_with_the_file_that_names_their_pictures(coco: Path, tmp_path: Path) -> None:
    def results(values: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {"image_id": one["image_id"], "segmentation": one["segmentation"], "score": 0.5, "point_coords": [[1, 2]]}
            for one in values["annotations"][2:]
        ]

    file = changed(coco, "results.json", results)
    source = open_source(file, coco=coco)
    assert [(one.picture, one.object_id) for one in source.masks()] == [
        ("0", "1"),
        ("1", "2"),
        ("1", "3"),
        ("1", "4"),
    ]
    assert shown(file, {"0"}, coco=coco)["0"]["1"].points == ((1.0, 2.0),)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = file.rename(elsewhere / "results.json")
    assert len(open_source(moved, coco=coco).masks()) == 4
    others = changed(coco, "others.json", lambda values: [{"image_id": 77, "segmentation": {}}])
    with pytest.raises(InputError, match=r"no image_id of the results is in .*masks.json, the first: 77"):
        open_source(others, coco=coco)
    nothing = changed(coco, "nothing.json", lambda values: {"pictures": []})
    with pytest.raises(InputError, match=r"nothing.json: not a COCO file: it has no list of images"):
        open_source(moved, coco=nothing)


def test_what_has_no_mask_is_one_line(coco: Path, tmp_path: Path) -> None:
    empty = changed(coco, "empty.json", lambda values: values | {"annotations": []})
    with pytest.raises(InputError, match=r"empty.json: no mask on a picture that is there"):
        open_source(empty)
    with pytest.raises(InputError, match=r"none\.json"):
        open_source(tmp_path / "none.json")


def test_a_release(store: Store) -> None:
    release = build_release(store, config=ReleaseConfig(blur=False), stages=["fully_automatic"])
    source = open_source(release.path)
    known = source.masks()
    assert len(known) == release.manifest.masks
    picture = known[0].picture
    ((name, pixels, masks),) = source.pictures({picture})
    assert name == picture
    assert set(masks) == {one.object_id for one in known if one.picture == picture}
    one = next(iter(masks.values()))
    assert pixels().shape[:2] == (one.rle.height, one.rle.width)
    assert len(one.points) == 1
