"""Releases in other forms: what goes in comes out."""

import json
from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image
from pycocotools.coco import COCO

from engine import rle
from engine.coco import read_coco
from engine.release.build import build_release
from engine.release.exporters import EXPORTERS, export_release
from engine.release.reader import Release
from engine.store import Store
from schemas.errors import InputError


@pytest.fixture
def path(store: Store) -> Path:
    return build_release(store, stages=["fully_automatic", "assisted_manual"]).path


def test_coco_is_read_back_mask_for_mask(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "coco", form="coco")
    found = read_coco(tmp_path / "coco" / "annotations.json")
    assert found.problems == []
    for image, picture in zip(found.images, Release(path), strict=True):
        assert image.path.read_bytes() == picture.jpeg
        assert (image.coco_id, image.split) == (picture.row["image_id"], picture.row["split"])
        assert [mask.rle for mask in image.masks] == [mask.rle for mask in picture.masks()]
        assert [mask.label for mask in image.masks] == [mask.label for mask in picture.masks()]


def test_pycocotools_reads_it_too(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "coco", form="coco")
    coco = COCO(tmp_path / "coco" / "annotations.json")
    assert len(coco.anns) == Release(path).manifest.masks
    assert all(coco.annToMask(annotation).sum() == annotation["area"] for annotation in coco.anns.values())
    assert {annotation["category_id"] for annotation in coco.anns.values()} == set(coco.cats)


def test_lvis_has_the_masks_of_coco_and_what_its_own_reader_asks_for(path: Path, tmp_path: Path) -> None:
    """The `lvis` package needs another build of OpenCV; it read such an export, mask for mask, when that was tried."""
    for form in ("coco", "lvis"):
        export_release(path, tmp_path / form, form=form)
    plain, lvis = (COCO(tmp_path / form / "annotations.json") for form in ("coco", "lvis"))
    for number, annotation in lvis.anns.items():
        assert annotation | {"iscrowd": 0} == plain.anns[number]
        assert "iscrowd" not in annotation
    assert lvis.anns.keys() == plain.anns.keys()
    manifest = Release(path).manifest
    (category,) = lvis.dataset["categories"]
    counts = {"image_count": manifest.images, "instance_count": manifest.masks, "frequency": "r"}
    words = {"id": 1, "name": "object", "synonyms": ["object"], "synset": "", "def": ""}
    assert category == words | counts
    for image in lvis.dataset["images"]:
        assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([], [1])


def test_png_has_a_file_for_each_mask(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "png", form="png")
    for picture in Release(path):
        assert (tmp_path / "png" / "images" / f"{picture.name}.jpg").read_bytes() == picture.jpeg
        files = tmp_path / "png" / "masks" / picture.name
        assert {file.stem for file in files.iterdir()} == {str(row["id"]) for row in picture.mask_rows}
        for mask, row in zip(picture.masks(), picture.mask_rows, strict=True):
            with Image.open(files / f"{row['id']}.png") as opened:
                np.testing.assert_array_equal(np.asarray(opened.convert("L")) == 255, rle.decode(mask.rle))


def test_label_studio_shows_every_mask(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "labelstudio", form="labelstudio")
    tasks = json.loads((tmp_path / "labelstudio" / "tasks.json").read_text())
    name = Release(path).manifest.name
    labels = LabelInterface((tmp_path / "labelstudio" / "labels.xml").read_text())
    for task, picture in zip(tasks, Release(path), strict=True):
        assert task["data"]["image"] == f"/data/local-files/?d={name}/images/{picture.name}.jpg"
        (annotation,) = task["annotations"]
        assert labels.validate_annotation(annotation)
        for region, mask in zip(annotation["result"], picture.masks(), strict=True):
            pixels = decode_rle(region["value"]["rle"]).reshape(picture.height, picture.width, 4)[:, :, 3] > 0
            np.testing.assert_array_equal(pixels, rle.decode(mask.rle))


def test_an_output_that_exists_is_left_alone(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(InputError, match="mine: exists already"):
        export_release(path, tmp_path / "mine", form="coco")
    assert (tmp_path / "mine").read_text() == "keep"


def test_an_unknown_form_lists_the_known_ones(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown export format 'pascal'; known: coco, lvis, png, labelstudio"):
        export_release(path, tmp_path / "out", form="pascal")


def test_nothing_is_left_of_an_export_that_fails(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(release: Release, folder: Path, /) -> None:
        (folder / "begun").write_text("")
        raise InputError("this form has no holes")

    monkeypatch.setitem(EXPORTERS._loaded, "half", half)
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match="no holes"):
        export_release(path, tmp_path / "out", form="half")
    assert set(tmp_path.iterdir()) == before
