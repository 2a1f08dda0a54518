"""What describes a release: true, whole, the same each time, and read by the tools that it is written for."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.places import place
from engine.release.build import build_release
from engine.release.documents import DOCUMENTS, documents_of
from engine.release.licences import KNOWN, licence_text
from engine.release.reader import Release
from engine.release.repair import repair_release
from engine.release.sample_sheet import PICTURES, _shares
from engine.release.statistics import Spread
from engine.release.subset import subset_release
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import CardConfig, ReleaseConfig
from schemas.errors import InputError
from schemas.release import IMAGE_INDEX, MASK_INDEX
from tests.engine.release.test_repair import flip_a_bit

CARD = {
    "name": "Shapes",
    "version": "1.2.0",
    "published": "2026-01-31",
    "license": "cc-by-4.0",
    "holder": "The Shape Society",
    "citation": "@misc{shapes}",
    "contact": "here",
    "url": "https://example.org/shapes",
    "motivation": "To see shapes.",
    "pictures": "Drawn by a program.",
    "annotators": "None were people.",
    "uses": "Tests alone.",
    "limits": "No curves.",
    "maintenance": "Write to us, and it goes.",
}
WORDS = ("motivation", "pictures", "annotators", "uses", "limits", "maintenance")
VALIDATE = "from mlcroissant.scripts.cli import main; main()"  # as the command mlcroissant
LOAD = """
import json, sys
import mlcroissant
dataset = mlcroissant.Dataset(sys.argv[1])
found = {}
for each in dataset.metadata.record_sets:
    rows = []
    for record in dataset.records(each.id):
        plain = {name.split("/")[1]: value for name, value in record.items()}
        if "picture" in plain:
            plain["picture"] = plain["picture"].size
        rows.append({name: value.decode() if isinstance(value, bytes) else value for name, value in plain.items()})
    found[each.id] = rows
print(json.dumps(found, default=bytes.decode))
"""


@pytest.fixture
def release(store: Store) -> Path:
    config = ReleaseConfig.model_validate({"images_per_tar": 3, "card": CARD})
    return build_release(store, config=config, stages=["assisted_manual", "fully_automatic"]).path


@pytest.fixture
def silent(store: Store) -> Path:
    """A release whose user said nothing."""
    return build_release(store, config=ReleaseConfig(blur=False)).path


def croissant(code: str, *arguments: str, home: Path) -> str:
    """What mlcroissant prints and logs. It keeps what it unpacks by the names of tars, so each call has its cache."""
    environment = os.environ | {"CROISSANT_CACHE": str(home)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout or done.stderr


@pytest.mark.parametrize("which", ["release", "silent"])
def test_mlcroissant_has_nothing_to_say_of_it(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder: Path = request.getfixturevalue(which)
    file = str(folder / "croissant.json")
    told = croissant(VALIDATE, "validate", "--jsonld", file, home=tmp_path / "cache")
    assert "Done." in told
    assert ("is recommended" in told) == (which == "silent"), "only terms are missing that nobody said"
    content = json.loads((folder / "croissant.json").read_text())
    for said in ("rai:dataLimitations", "rai:personalSensitiveInformation", "rai:dataAnnotationProtocol"):
        assert content[said]
    assert ("rai:dataCollection" in content) == (which == "release")


def test_all_its_records_load(release: Path, tmp_path: Path) -> None:
    found = json.loads(croissant(LOAD, str(release / "croissant.json"), home=tmp_path / "cache"))
    pictures = {picture.name: picture for picture in Release(release)}
    assert {row["name"]: row["picture"] for row in found["pictures"]} == {
        f"{name}.jpg": [picture.width, picture.height] for name, picture in pictures.items()
    }
    assert {row["name"]: json.loads(row["json"]) for row in found["annotations"]} == {
        f"{name}.json": json.loads(picture.record.to_json()) for name, picture in pictures.items()
    }
    rows = [picture.row for picture in pictures.values()]
    flat = [name for name in IMAGE_INDEX.names if name != "blurred"]
    assert found["image_index"] == [{name: row[name] for name in flat} for row in rows]
    masks = [row for picture in pictures.values() for row in picture.mask_rows]
    for told, row in zip(found["mask_index"], masks, strict=True):
        assert set(told) == set(MASK_INDEX.names) - {"points"}
        assert {name: told[name] for name in ("id", "image_id", "area", "bbox_xyxy", "stage")} == {
            name: row[name] for name in ("id", "image_id", "area", "bbox_xyxy", "stage")
        }


def test_statistics_are_what_counting_gives(release: Path) -> None:
    told = json.loads((release / "statistics.json").read_text())
    pictures = list(Release(release))
    masks = [(row, picture) for picture in pictures for row in picture.mask_rows]
    assert (told["pictures"], told["masks"]) == (len(pictures), len(masks))
    each = sorted(len(picture.mask_rows) for picture in pictures)
    mean = pytest.approx(np.mean(each), abs=1e-4)
    assert told["masks_per_picture"] == {"least": each[0], "median": each[(len(each) - 1) // 2], "mean": mean} | {
        "most": each[-1]
    }
    for name, column in (
        ("stages", "stage"),
        ("origins", "origin"),
        ("annotators", "annotator"),
        ("models", "model_id"),
    ):
        assert told[name] == Counter(row[column] for row, _ in masks)
    sizes = [(row["area"] / (picture.width * picture.height)) ** 0.5 for row, picture in masks]
    assert told["relative_size"]["masks"] == np.histogram(sizes, told["relative_size"]["edges"])[0].tolist()
    known = [row["predicted_iou"] for row, _ in masks if row["predicted_iou"] == row["predicted_iou"]]
    assert told["predicted_iou"]["unknown"] == len(masks) - len(known) == told["origins"]["manual"]
    assert told["predicted_iou"]["masks"] == np.histogram(known, told["predicted_iou"]["edges"])[0].tolist()
    assert told["pictures_looked_at_by"] == {"faces": len(pictures), "plates": len(pictures)}


@pytest.mark.parametrize("values", [[], [3], [1, 1, 9], [4, 2, 2, 8], [0, 0, 0, 1]])
def test_a_spread_has_the_lower_median(values: list[int]) -> None:
    spread = Spread.of(Counter(values))
    assert spread.median == (sorted(values)[(len(values) - 1) // 2] if values else 0)


def test_the_datasheet_has_the_words_of_the_user_and_the_numbers_of_the_release(release: Path, silent: Path) -> None:
    text = (release / "DATASHEET.md").read_text()
    manifest = Release(release).manifest
    assert f"{manifest.images} pictures (JPEG) and {manifest.masks} masks on them" in text
    for name in WORDS:
        assert CARD[name] in text
    assert "Not stated" not in text
    for title in [
        "Motivation",
        "Composition",
        "Collection",
        "Stages",
        "Annotators",
        "Preprocessing",
        "Privacy",
        "Limits",
        "Maintenance",
    ]:
        assert f"\n## {title}\n" in text
    assert text.index("\n## Limits\n") < text.index("\n## Maintenance\n")
    text = (silent / "DATASHEET.md").read_text()
    assert text.count("*Not stated: ") == 5, "no people annotated it, so nothing is to be said of them"
    assert "Nothing was looked for and nothing was blurred" in text
    assert "No licence was stated" in text


def test_a_licence_names_what_it_is_and_who_gives_it(release: Path, silent: Path) -> None:
    assert (release / "LICENSE").read_text().splitlines() == [
        "Shapes",
        "Rights holder: The Shape Society",
        "Contact: here",
        "",
        "This dataset is licensed under CC-BY-4.0.",
        "SPDX-License-Identifier: CC-BY-4.0",
        "The text of the licence: https://creativecommons.org/licenses/by/4.0/legalcode",
    ]
    assert "no right to use" in (silent / "LICENSE").read_text()
    own = licence_text(CardConfig(license="ours", license_text="Do as\nyou like."), name="shapes")
    assert own == "shapes\n\nDo as\nyou like.\n"
    assert licence_text(CardConfig(license="ours"), name="shapes").endswith("\nLicence: ours\n")
    assert all(known.url.startswith("https://") and " " not in known.spdx for known in KNOWN.values())


def test_the_preview_shows_what_is_released(release: Path) -> None:
    with Image.open(io.BytesIO((release / "preview.jpg").read_bytes())) as sheet:
        pixels = np.asarray(sheet).astype(int)
    first = next(iter(Release(release)))
    scale = 384 / max(first.width, first.height)
    size = round(first.width * scale), round(first.height * scale)
    shown = np.asarray(Image.fromarray(first.pixels()).resize(size, Image.Resampling.NEAREST)).astype(int)
    left, top = 16 + (384 - size[0]) // 2, 16
    tiles = [pixels[top + y : top + y + size[1], left : left + size[0]] for y in range(400 - size[1])]
    assert min(np.abs(tile - shown).mean() for tile in tiles) < 4


@pytest.mark.parametrize("there", [[], [3], [1, 9, 1], [4] * 8, [1, 2], [0, 5]])
def test_pictures_of_the_preview_come_from_all_over(there: list[int]) -> None:
    shares = _shares(there)
    assert sum(shares) == min(PICTURES, sum(there))
    assert all(0 <= share <= images for share, images in zip(shares, there, strict=True))
    full = [share for share, images in zip(shares, there, strict=True) if share < images]
    assert max(shares, default=0) - min(full, default=max(shares, default=0)) <= 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_damaged_document_is_found_and_mended(release: Path, store: Store, name: str) -> None:
    whole = (release / name).read_bytes()
    flip_a_bit(release / name)
    assert [name in problem for problem in verify_release(release)] == [True]
    assert repair_release(place(release), store) == ([name], [])
    assert (release / name).read_bytes() == whole
    assert verify_release(release) == []


def test_a_document_of_tars_that_cannot_be_mended_is_left(release: Path, store: Store) -> None:
    for name in ("sa_000000.tar", "preview.jpg", "README.md"):
        flip_a_bit(release / name)
    (release / "index" / "masks" / "sa_000001.parquet").unlink()
    next((store.workspace / "images").rglob("*.png")).unlink()
    mended, left = repair_release(place(release), store)
    assert "README.md" in mended
    assert any("preview.jpg" in line for line in left) or "preview.jpg" in mended


def test_a_part_of_a_release_is_described_as_what_it_is(release: Path, tmp_path: Path) -> None:
    manifest = subset_release(release, tmp_path / "part", images=2)
    assert verify_release(tmp_path / "part") == []
    assert {file.name for file in manifest.documents} == set(DOCUMENTS)
    assert json.loads((tmp_path / "part" / "statistics.json").read_text())["pictures"] == 2


def test_documents_follow_from_the_release_alone(release: Path) -> None:
    made: dict[str, Any] = documents_of(place(release), Release(release).manifest)
    for name in (*DOCUMENTS, "README.md"):
        assert made[name] == (release / name).read_bytes()


@pytest.mark.parametrize(("key", "value"), [("published", "31.1.2026"), ("version", "one"), ("url", "corner")])
def test_words_that_nobody_can_read_are_refused(store: Store, key: str, value: str) -> None:
    store.files.config.write(f"release: {{card: {{{key}: {value!r}}}}}\n".encode())
    with pytest.raises(InputError, match=f"release.card.{key}"):
        store.files.settings()
