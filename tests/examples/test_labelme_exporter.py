"""The example of an exporter: what it writes is read back mask for mask."""

from pathlib import Path

import pytest

from engine.ingest import ingest
from engine.release.build import build_release
from engine.release.reader import Release
from engine.store import Store
from schemas.config import ReleaseConfig
from tests.distributions import install_example
from tests.engine.release.conftest import make_store as make_store
from tests.engine.release.conftest import store as store
from tests.engine.release.conftest import templates as templates
from tests.flows.cli_runner import sam_engine
from tests.templates import new_store


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_example("labelme_exporter", tmp_path / "site", monkeypatch)


def test_a_release_is_read_back(store: Store, tmp_path: Path) -> None:
    release = build_release(store, config=ReleaseConfig(blur=False)).path
    done = sam_engine("release", "export", release, "--output", tmp_path / "labelme", "--format", "labelme", "--json")
    assert done.status == 0, done.err
    again = new_store(tmp_path / "again")
    report = ingest(again, [tmp_path / "labelme"])
    assert (report.rejected, report.masks) == ([], done.result["masks"])
    found = {row["image_id"]: Path(row["source"]).stem for row in again.images().to_pylist()}
    read = {(found[row["image_id"]], row["rle"]) for row in again.read_table("ground_truth").to_pylist()}
    assert read == {(picture.name, mask.rle.counts) for picture in Release(release) for mask in picture.masks()}
