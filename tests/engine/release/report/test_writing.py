"""The report of a release: what it says, that it is whole in one file, and what it cannot be made of."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from engine import rle
from engine.places import place
from engine.release.build import build_release
from engine.release.reader import Release
from engine.release.report.hulls import concavity
from engine.release.report.writing import report_folder, write_release_report
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from schemas.release import MANIFEST_FILE, Manifest
from tests.engine.release.conftest import SIZES


@pytest.fixture
def release(store: Store) -> Path:
    return build_release(store, config=ReleaseConfig(images_per_tar=3)).path


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    square = np.zeros((40, 40), dtype=bool)
    square[4:12, 4:12] = True
    segmentation = rle.encode(square).to_coco()
    images = [{"id": 1, "width": 40, "height": 40}]
    path = tmp_path / "squares.json"
    path.write_text(json.dumps({"images": images, "annotations": [{"image_id": 1, "segmentation": segmentation}] * 9}))
    return path


class _Links(HTMLParser):
    """Tags, and every address that the page would ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_numbers_are_those_of_the_release(release: Path, tmp_path: Path) -> None:
    files = write_release_report(release, tmp_path / "report")
    written = json.loads((tmp_path / "report" / "report.json").read_text())
    assert written == files.values
    pictures = list(Release(release))
    name = files.values["release"]
    own = files.values["masks_per_picture"][name]
    assert (own["pictures"], own["masks"]) == (len(SIZES), sum(len(one.mask_rows) for one in pictures))
    assert own["mean"] == own["masks"] / own["pictures"]
    masks = [mask.rle for one in pictures for mask in one.masks()]
    assert files.values["concavity"]["mean"][name] == pytest.approx(concavity(masks).mean())
    assert sum(files.values["concavity"]["masks_per_bin"].values()) == len(masks)
    sizes = [np.sqrt(mask.area / (one.width * one.height)) for one in pictures for mask in one.masks()]
    assert files.values["relative_size"][name]["q0.5"] == pytest.approx(np.median(sizes), abs=0.002)


def test_the_page_needs_no_other_file(release: Path, reference: Path, tmp_path: Path) -> None:
    files = write_release_report(release, tmp_path / "report", references={"squares & <more>": reference})
    text = files.page.text()
    page = _Links()
    page.feed(text)
    assert page.tags.count("img") == 4
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert "squares &amp; &lt;more&gt;" in text
    assert not re.search("https?://|<script|@import|url\\(", text)
    plots = {path.name for path in (tmp_path / "report" / "plots").iterdir()}
    names = ("mask_centres", "masks_per_picture", "relative_size", "concavity")
    assert plots == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}


def test_every_dataset_gives_equally_many_masks_of_each_size(release: Path, reference: Path, tmp_path: Path) -> None:
    found = write_release_report(release, tmp_path / "report", references={"squares": reference}).values
    alone = write_release_report(release, tmp_path / "alone").values["concavity"]["masks_per_bin"]
    # The nine squares have relative size 0.2.
    shared = {name: min(count, 9) if name == "0.16–0.32" else 0 for name, count in alone.items()}
    assert found["concavity"]["masks_per_bin"] == shared
    assert found["concavity"]["mean"]["squares"] == (0 if any(shared.values()) else None)


def test_equal_releases_give_equal_bytes(release: Path, tmp_path: Path) -> None:
    for name in ("first", "second", "first"):
        write_release_report(release, tmp_path / name)
    first, second = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("first", "second")
    )
    assert len(first) == 10
    assert first == second


def test_a_report_is_written_at_a_url(release: Path) -> None:
    files = write_release_report(release, "memory://reports/one")
    assert place("memory://reports/one").find("*.html")
    assert files.page.text().startswith("<!DOCTYPE html>")


def test_the_workspace_keeps_reports_of_its_releases(store: Store, release: Path, tmp_path: Path) -> None:
    assert report_folder(release) == str(store.files.reports / release.name)
    assert report_folder(f"{release}/") == report_folder(release)
    assert report_folder(tmp_path / "elsewhere" / "it") == "it-report"
    assert report_folder(tmp_path / "releases" / "it") == "it-report"


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"blur_versions": {}}, "Nothing is blurred."),
        ({"blur_versions": {"plates": "2", "faces": "1"}}, "Blurred is what these found: faces 1, plates 2."),
        ({"withheld": True}, "These pictures are withheld from all other releases."),
    ],
)
def test_the_page_says_what_the_release_is(release: Path, tmp_path: Path, update: dict[str, object], says: str) -> None:
    file = release / MANIFEST_FILE
    manifest = Manifest.model_validate_json(file.read_text())
    file.write_text(manifest.model_copy(update={"blur_versions": {}, "withheld": False, **update}).model_dump_json())
    text = write_release_report(release, tmp_path / "report").page.text()
    assert "Masks of the stages: fully automatic." in text
    assert says in text
    assert ("withheld" in text) == ("withheld" in update)


def test_a_release_without_masks_is_one_line(release: Path, tmp_path: Path) -> None:
    file = release / MANIFEST_FILE
    manifest = Manifest.model_validate_json(file.read_text())
    file.write_text(manifest.model_copy(update={"masks": 0}).model_dump_json())
    with pytest.raises(InputError, match="there is no mask in this release"):
        write_release_report(release, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_reference_with_the_name_of_the_release_is_refused(release: Path, reference: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the reference another name"):
        write_release_report(release, tmp_path / "report", references={release.name: reference})


@pytest.mark.parametrize(
    "damaged", ["sa_000001.tar", "index/masks/sa_000001.parquet", "index/images/sa_000001.parquet"]
)
def test_what_cannot_be_read_is_named_and_nothing_is_written(release: Path, tmp_path: Path, damaged: str) -> None:
    (release / damaged).write_bytes((release / damaged).read_bytes()[:300])
    with pytest.raises(InputError, match=r"sa_000001\.tar: cannot be read with its index: .*release verify"):
        write_release_report(release, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_an_index_of_another_tar_is_found(release: Path, tmp_path: Path) -> None:
    masks = release / "index" / "masks"
    (masks / "sa_000000.parquet").write_bytes((masks / "sa_000001.parquet").read_bytes())
    with pytest.raises(InputError, match=r"sa_000000\.tar: .*a mask of a picture that is not in the index"):
        write_release_report(release, tmp_path / "report")
