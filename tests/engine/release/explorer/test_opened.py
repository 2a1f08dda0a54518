"""A release that is looked at: its pictures, masks and tars."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from engine.release.explorer.filters import Filters
from engine.release.explorer.opened import OpenedRelease
from engine.release.reader import Release
from schemas.errors import InputError
from schemas.release import MANIFEST_FILE


def test_pictures_and_masks_are_those_of_the_tars(release: OpenedRelease, folder: Path) -> None:
    pictures = list(Release(folder))
    assert len(pictures) == 7
    for picture in pictures:
        assert release.jpeg(picture.row["image_id"]) == picture.jpeg
        told = release.picture(picture.row["image_id"], Filters())
        assert told is not None
        assert (told["image_id"], told["content_id"]) == (str(picture.row["image_id"]), str(picture.row["content_id"]))
        counts = {str(annotation.id): annotation.segmentation.counts for annotation in picture.record.annotations}
        assert {mask["id"]: mask["counts"] for mask in told["masks"]} == counts
        for mask, row in zip(told["masks"], picture.mask_rows, strict=True):
            assert (mask["id"], mask["content_id"]) == (str(row["id"]), str(row["content_id"]))
            assert (mask["stage"], mask["area"], mask["points"]) == (row["stage"], row["area"], row["points"])
            assert mask["shown"] is True
        json.dumps(told, allow_nan=False)


def test_unknown_scores_are_null(release: OpenedRelease) -> None:
    told = release.picture(1, Filters())
    assert told is not None
    manual = [mask for mask in told["masks"] if mask["stage"] == "assisted_manual"]
    assert {(mask["predicted_iou"], mask["stability_score"]) for mask in manual} == {(None, None)}


def test_thumbnails_are_small_and_whole(release: OpenedRelease) -> None:
    small = release.thumbnail(1)
    row = release.index.picture(1)
    assert small is not None
    assert row is not None
    with Image.open(io.BytesIO(small)) as picture:
        assert max(picture.size) <= 480
        assert picture.width / picture.height == pytest.approx(row["width"] / row["height"], rel=0.03)


def test_there_is_no_such_picture(release: OpenedRelease) -> None:
    assert release.jpeg(99) is release.thumbnail(99) is release.picture(99, Filters()) is None


def test_a_release_of_format_1(tmp_path: Path) -> None:
    """Its numbers have 63 bits, which JavaScript would round, and its index lacks some columns."""
    with tarfile.open(Path(__file__).parents[1] / "kept_releases" / "format_1.tar.xz") as kept:
        kept.extractall(tmp_path, filter="data")
    (folder,) = [found.parent for found in tmp_path.rglob(MANIFEST_FILE)]
    opened = OpenedRelease(folder, tmp_path / "scratch")
    for picture in Release(folder):
        told = opened.picture(picture.row["image_id"], Filters())
        assert told is not None
        assert {(mask["id"], mask["content_id"]) for mask in told["masks"]} == {
            (str(row["id"]), str(row["content_id"])) for row in picture.mask_rows
        }
        assert all(isinstance(mask["counts"], str) for mask in told["masks"])
    assert opened.index.facets()["choices"]["stage"]


def test_a_tar_that_is_cut_off(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    tar = copy / "sa_000000.tar"
    tar.write_bytes(tar.read_bytes()[:1200])
    opened = OpenedRelease(copy, tmp_path / "scratch")
    with pytest.raises(InputError, match=r"sa_000000.tar: .*sa_1.*sam-engine release verify"):
        opened.jpeg(1)
    with pytest.raises(InputError, match=r"sa_2.jpg is not in it"):
        opened.jpeg(2)
    tar.unlink()
    with pytest.raises(InputError, match="No such file"):
        OpenedRelease(copy, tmp_path / "other").jpeg(1)


def test_a_picture_or_a_record_that_is_damaged(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    tar = copy / "sa_000000.tar"
    with tarfile.open(tar) as opened_tar:
        jpeg, record = opened_tar.getmember("sa_1.jpg"), opened_tar.getmember("sa_1.json")
    data = bytearray(tar.read_bytes())
    data[jpeg.offset_data : jpeg.offset_data + jpeg.size] = bytes(jpeg.size)
    data[record.offset_data] = ord("!")
    tar.write_bytes(data)
    opened = OpenedRelease(copy, tmp_path / "scratch")
    with pytest.raises(InputError, match="picture 1 does not decode"):
        opened.thumbnail(1)
    with pytest.raises(InputError, match=r"sa_1.json is damaged"):
        opened.picture(1, Filters())
    assert opened.picture(2, Filters()) is not None


@pytest.mark.parametrize("name", ["../secret.tar", "/etc/passwd", "index/../../x.tar", "..\\secret.tar"])
def test_no_name_leads_out_of_the_release(folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = json.loads((copy / MANIFEST_FILE).read_text())
    manifest["tars"][0]["tar"]["name"] = name
    (copy / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="does not lie in the release"):
        OpenedRelease(copy, tmp_path / "scratch")


def test_a_folder_that_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a release"):
        OpenedRelease(tmp_path, tmp_path / "scratch")


def test_a_release_of_a_newer_version(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = (copy / MANIFEST_FILE).read_text().replace("sam-data-engine release 2", "sam-data-engine release 9")
    (copy / MANIFEST_FILE).write_text(manifest)
    with pytest.raises(InputError, match="release 9 is of a newer version; update sam-data-engine") as raised:
        OpenedRelease(copy, tmp_path / "scratch")
    assert "\n" not in str(raised.value)
