"""Releases in other forms: what goes in comes out."""

from pathlib import Path

import pytest
from pycocotools.coco import COCO

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


def test_an_output_that_exists_is_left_alone(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(InputError, match="mine: exists already"):
        export_release(path, tmp_path / "mine", form="coco")
    assert (tmp_path / "mine").read_text() == "keep"


def test_an_unknown_form_lists_the_known_ones(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown export format 'pascal'; known: coco"):
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
