"""The card of a release: `datasets` loads the release by it, its code runs, and it says what the manifest says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from engine.release.build import build_release
from engine.release.card import card_text
from engine.release.reader import Release
from engine.store import Store
from schemas.config import ReleaseConfig
from tests.engine.release.conftest import add_masks

CARD = {"name": "Shapes", "license": "cc0-1.0", "citation": "@misc{shapes}", "contact": "here", "pictures": "Drawn."}
LOAD = """
import io, json, sys
from datasets import load_dataset
pictures = load_dataset(sys.argv[1], split="train")
print(json.dumps([[each["jpg"].size, each["json"]] for each in pictures]))
"""


@pytest.fixture
def release(store: Store) -> Path:
    """People's masks, whose prompts and missing scores others have not, on the last of its pictures alone."""
    shard = store.shards()[-1]
    for other in store.shards()[:-1]:
        empty = store.read_shard("assisted_manual", other).slice(0, 0)
        store.replace_shard("assisted_manual", other, empty, round=1, key=f"{int(other):015x}e")
    assert store.read_shard("assisted_manual", shard).num_rows
    config = ReleaseConfig.model_validate({"images_per_tar": 3, "card": CARD, "blur": False})
    return build_release(store, config=config, stages=["assisted_manual", "fully_automatic"]).path


def _run(code: str, folder: Path, home: Path) -> str:
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=folder.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_datasets_loads_every_picture_with_all_its_masks(release: Path, tmp_path: Path) -> None:
    loaded = json.loads(_run(LOAD, release, tmp_path / "home"))
    assert len(loaded) == Release(release).manifest.images
    for (size, found), picture in zip(loaded, Release(release), strict=True):
        assert size == [picture.width, picture.height]
        written = json.loads(picture.record.to_json())
        assert found["image"] == written["image"]
        for each, expected in zip(found["annotations"], written["annotations"], strict=True):
            prompt = each.pop("prompt") or {}
            assert {name: value for name, value in prompt.items() if value is not None} == expected.pop("prompt", {})
            assert each == expected


def test_its_code_runs(release: Path, tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", (release / "README.md").read_text(), re.DOTALL)
    plain, by_datasets, by_webdataset = code
    *_, last = Release(release)
    in_tar = [picture for picture in Release(release) if picture.row["tar"] == "sa_000000.tar"]
    last_of_tar = max(in_tar, key=lambda picture: picture.name)
    shown = _run(plain + "\nprint(picture.size, sum(int(each.sum()) for each in masks))", release, tmp_path / "home")
    areas = sum(annotation.area for annotation in last_of_tar.record.annotations)
    assert shown == f"{(last_of_tar.width, last_of_tar.height)} {areas}\n"
    assert _run(by_datasets, release, tmp_path / "home") == ""
    count = f"n = 0\n{by_webdataset}    n += len(picture['json']['annotations'])\nprint(n, picture['jpg'].size)"
    shown = _run(count, release, tmp_path / "home")
    assert shown == f"{Release(release).manifest.masks} {(last.width, last.height)}\n"


def test_it_says_what_the_user_and_the_manifest_say(release: Path, store: Store) -> None:
    text = (release / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    told = yaml.safe_load(front)
    assert (told["license"], told["pretty_name"], told["size_categories"]) == ("cc0-1.0", "Shapes", ["n<1K"])
    manifest = Release(release).manifest
    assert f"{manifest.masks} masks on {manifest.images} pictures" in body
    for said in (
        "# Shapes",
        "Drawn.",
        "@misc{shapes}",
        "Contact: here",
        "Nothing was blurred",
        "`fully_automatic`: the model",
    ):
        assert said in body
    assert "changes.json" not in body
    add_masks(store, "fully_automatic", round=2, seed=7)
    next_one = build_release(store).manifest
    body = card_text(next_one)
    assert f"| `changes.json` | what was added, removed and changed since `{manifest.name}` |" in body
    for said in ("No licence was stated", "Blurred where they were found: faces ("):
        assert said in body
    assert "`assisted_manual`" not in body


def test_a_simulated_annotator_is_called_simulated(release: Path, store: Store) -> None:
    manifest = Release(release).manifest
    assert manifest.annotators == {"generator": manifest.masks - 5, "simulated": 5}
    assert "- 5 of the masks come from a simulated annotator: a program" in (release / "README.md").read_text()
    assert "simulated" not in card_text(build_release(store).manifest)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("Our own, v2", {"license": "other", "license_name": "our-own-v2", "license_link": "LICENSE"}),
        ("", {}),
    ],
)
def test_the_hub_is_told_a_licence_that_it_knows(release: Path, given: str, told: dict[str, str]) -> None:
    manifest = Release(release).manifest
    card = manifest.config.card.model_copy(update={"license": given})
    config = manifest.config.model_copy(update={"card": card})
    front = yaml.safe_load(card_text(manifest.model_copy(update={"config": config})).split("---\n")[1])
    assert {name: value for name, value in front.items() if name.startswith("license")} == told
