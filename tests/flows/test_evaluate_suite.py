"""`sam-engine evaluate suite`."""

import json
from pathlib import Path

import pytest

from model.registry import ModelCard
from model.storage import save_model
from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import tiny_sam, write_pictures


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    save_model(tiny_sam(), tmp_path / "home" / "models", ModelCard(name="tiny"))
    write_pictures(tmp_path / "a", images=2)
    write_pictures(tmp_path / "b", images=2, first_seed=5)
    return tmp_path


def written(folder: Path, *, sets: str = "", models: str = "tiny", more: str = "") -> Path:
    file = folder / "suite.yaml"
    file.write_text(
        "sets:\n"
        "  a: {coco: a/masks.json, max_masks: 4}\n"
        "  b: {coco: b/masks.json}\n"
        f"{sets}"
        f"models: {models}\nbaselines: [felzenszwalb, grabcut]\nclicks: [1, 2]\noutput: out\n{more}"
    )
    return file


def test_a_suite_is_measured_and_goes_on_from_what_is_kept(folder: Path) -> None:
    file = written(folder)
    done = sam_engine("evaluate", "suite", file, "--device", "cpu", "--json")
    assert done.status == 0, done.err
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {"suite.json", "suite.md", "deltas.png", "clicks.png", "results"}
    assert json.loads((out / "suite.json").read_text()) == done.result
    assert done.result["peers"] == ["tiny", "felzenszwalb", "grabcut"]
    assert [each["masks"] for each in done.result["sets"].values()] == [4, 6]
    assert list(done.result["results"][0]["mean"]["better_by"]) == ["felzenszwalb"]
    assert "a: tiny, clicks" in done.err
    again = sam_engine("evaluate", "suite", file, "--device", "cpu")
    assert again.status == 0
    assert "tiny, clicks" not in again.err
    assert f"Written to {out}" in again.out
    assert "1 click, oracle" in again.out
    assert json.loads((out / "suite.json").read_text()) == done.result


def test_a_set_that_is_missing_is_named_and_the_rest_is_done(folder: Path) -> None:
    file = written(folder, sets="  gone: {coco: gone.json}\n")
    done = sam_engine("evaluate", "suite", file, "--device", "cpu", "--json")
    assert done.status == 1
    assert list(done.result["sets"]) == ["a", "b"]
    assert list(done.result["left_out"]) == ["gone"]
    assert done.err.splitlines()[-1] == "error: 1 of 3 sets left out: gone"
    assert sum(line.startswith("gone: left out: ") for line in done.err.splitlines()) == 1
    assert "- gone: left out: " in (folder / "out" / "suite.md").read_text()


def test_without_any_set_nothing_is_written(folder: Path) -> None:
    file = folder / "suite.yaml"
    file.write_text("sets: {gone: {coco: gone.json}}\nmodels: tiny\noutput: out\n")
    done = sam_engine("evaluate", "suite", file, "--device", "cpu", "--json")
    assert (done.status, done.result["sets"]) == (1, {})
    assert not (folder / "out").exists()


def test_bad_input_is_one_line_and_status_2(folder: Path) -> None:
    cases: list[tuple[dict[str, str], str]] = [
        ({"more": "sede: 1\n"}, "unknown key 'sede'"),
        ({"models": "[tiny, huge]"}, "no model 'huge'"),
        ({"sets": "  a: {coco: b/masks.json}\n"}, "a stands there twice"),
    ]
    missing = sam_engine("evaluate", "suite", folder / "none.yaml")
    assert missing.status == 2
    assert "none.yaml: cannot be read: No such file" in missing.err.splitlines()[-1]
    for given, said in cases:
        done = sam_engine("evaluate", "suite", written(folder, **given), "--device", "cpu")
        assert done.status == 2
        assert said in done.err.splitlines()[-1]
        assert not (folder / "out").exists()
