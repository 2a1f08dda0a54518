"""sam-engine release: what it says of what it builds, verifies and reports."""

import json
from pathlib import Path

import pytest

from engine.store import Store
from stages.rounds import tick
from tests.flows.cli_runner import one_error_line, sam_engine
from tests.stages.workspaces import make_workspace


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(tmp_path, images=3, holdout=1)


def test_a_release_cannot_be_built_of_nothing(store: Store) -> None:
    done = sam_engine("release", "build", store.workspace)
    assert done.status == 1
    assert "no masks of fully_automatic to release" in one_error_line(done.err)
    missing = sam_engine("release", "verify", store.workspace)
    assert missing.status == 2


def test_a_release_says_what_it_blurred_and_a_sheet_shows_it_before(store: Store) -> None:
    for _ in range(3):
        tick(store, "assisted_manual")
    sheet = store.workspace / "sheet.jpg"
    shown = sam_engine("release", "preview", store.workspace, "--output", sheet, "--pictures", "2", "--json")
    assert (shown.status, shown.result["pictures"], set(shown.result["found"])) == (0, 2, {"faces", "plates"})
    assert sheet.read_bytes().startswith(b"\xff\xd8")
    build = ("release", "build", store.workspace, "--stage", "assisted-manual", "--json")
    blurred, plain = sam_engine(*build), sam_engine(*build, "--no-blur")
    assert (blurred.result["blurred"], plain.result["blurred"]) == (["faces", "plates"], [])
    assert blurred.result["path"] != plain.result["path"]
    unknown = sam_engine(*build[:-1], "--set", "blur_detectors=[ears]")
    assert unknown.status == 2
    assert "choose one of faces, plates" in one_error_line(unknown.err)


def test_a_release_is_built_once_and_verified(store: Store) -> None:
    for _ in range(3):
        tick(store, "assisted_manual")
    built = sam_engine("release", "build", store.workspace, "--stage", "assisted-manual", "--json")
    assert built.status == 0
    assert built.result["created"] is True
    assert built.result["masks"] > 0
    assert (
        sam_engine("release", "build", store.workspace, "--stage", "assisted-manual", "--json").result["created"]
        is False
    )
    good = sam_engine("release", "verify", built.result["path"], "--json")
    assert (good.status, good.result["problems"]) == (0, [])
    exported = sam_engine("release", "export", built.result["path"], "--output", store.workspace / "coco", "--json")
    assert (exported.status, exported.result["masks"]) == (0, built.result["masks"])
    assert (store.workspace / "coco" / "annotations.json").is_file()
    unknown = sam_engine(
        "release", "export", built.result["path"], "--output", store.workspace / "x", "--format", "voc"
    )
    assert unknown.status == 2
    assert "unknown export format 'voc'; known: coco" in one_error_line(unknown.err)
    tar = next(Path(built.result["path"]).glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-512])
    damaged = sam_engine("release", "verify", built.result["path"], "--json")
    assert damaged.status == 1
    assert tar.name in damaged.result["problems"][0]


def test_a_release_is_reported_on_beside_a_reference(store: Store, tmp_path: Path) -> None:
    tick(store, "assisted_manual")
    tick(store, "assisted_manual")
    built = sam_engine("release", "build", store.workspace, "--stage", "assisted-manual", "--json").result
    sam_engine("release", "export", built["path"], "--output", tmp_path / "coco")
    coco = tmp_path / "coco" / "annotations.json"
    done = sam_engine("release", "report", built["path"], "--reference", f"itself={coco}", "--json")
    assert (done.status, done.result["masks"]) == (0, built["masks"])
    assert Path(done.result["path"]) == store.workspace / "reports" / Path(built["path"]).name / "report.html"
    found = json.loads(Path(done.result["path"]).with_name("report.json").read_text())
    release, reference = found["masks_per_picture"].values()
    assert release == reference
    assert len(set(found["concavity"]["mean"].values())) == 1
    assert found["stages"]["rounds"][0]["stage"] == "assisted_manual"
    masks = json.loads(coco.read_text())["annotations"]
    groups = tmp_path / "groups.csv"
    groups.write_text("id,half\n" + "".join(f"{mask['id']},{number % 2}\n" for number, mask in enumerate(masks)))
    countries = tmp_path / "countries.csv"
    countries.write_text("image_id,country\n" + "".join(f"{mask['image_id']},Kenya\n" for mask in masks[:1]))
    more = ("--groups", groups, "--geography", countries)
    grouped = sam_engine("release", "report", built["path"], *more, "--output", tmp_path / "grouped")
    assert grouped.status == 0
    found = json.loads((tmp_path / "grouped" / "report.json").read_text())
    assert found["geography"]["regions"]["Africa"]["pictures"] == 1
    assert sum(group["masks"] for group in found["fairness"]["half"]["groups"].values()) == built["masks"]


@pytest.mark.parametrize(
    ("references", "said"),
    [
        (["coco.json"], "--reference coco.json: give it as NAME=FILE"),
        (["=coco.json"], "--reference =coco.json: give it as NAME=FILE"),
        (["a=coco.json", "a=lvis.json"], "--reference a: given twice"),
    ],
)
def test_references_have_names(references: list[str], said: str, tmp_path: Path) -> None:
    options = [word for reference in references for word in ("--reference", reference)]
    done = sam_engine("release", "report", tmp_path, *options)
    assert done.status == 2
    assert said in one_error_line(done.err)
