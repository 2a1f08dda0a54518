"""`sam-engine evaluate groups`, and the general command beside it."""

import json
from pathlib import Path

import pytest

from model.registry import ModelCard
from model.storage import save_model
from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import tiny_sam, write_pictures


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    save_model(tiny_sam(), tmp_path / "home" / "models", ModelCard(name="tiny"))
    return write_pictures(tmp_path / "in", images=3)


def test_groups_of_a_table_are_measured(coco: Path, tmp_path: Path) -> None:
    ids = [record["id"] for record in json.loads(coco.read_text())["annotations"]]
    table = tmp_path / "groups.csv"
    rows = [f"{number},{'even' if number % 2 == 0 else 'odd'},one" for number in ids]
    table.write_text("\n".join(["annotation_id,parity,all", *rows, "998,odd,one", "999,none,one", ""]))
    page = tmp_path / "groups.md"
    asked = ("evaluate", "groups", "--coco", coco, "--groups", table, "-m", "tiny")
    done = sam_engine(*asked, "--json", "--output", page)
    assert done.status == 0, done.err
    assert (done.result["masks"], done.result["unknown_ids"]) == (len(ids), [998, 999])
    parity = done.result["columns"]["parity"]["groups"]
    assert {name: its["masks"] for name, its in parity.items()} == {
        "even": sum(number % 2 == 0 for number in ids),
        "odd": sum(number % 2 for number in ids),
    }
    assert done.result["columns"]["all"]["groups"]["one"]["pictures"] == 3
    assert "| parity | Masks | Pictures | mIoU, 1 point | mIoU, 3 points |" in page.read_text()
    assert "- Ids that no mask of the COCO file has: 998, 999." in page.read_text()
    shown = sam_engine(*asked)
    assert "parity, none: no mask in the COCO file." in shown.out
    assert sam_engine(*asked, "--json").result == done.result


def test_groups_that_match_nothing_are_one_line(coco: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.json"
    table.write_text('{"777": "a", "778": "b"}')
    done = sam_engine("evaluate", "groups", "--coco", coco, "--groups", table, "-m", "tiny")
    assert done.status == 2
    assert (
        done.err.splitlines()[-1]
        == f"error: {table}: none of its 2 ids is one of a mask in {coco}; give annotation ids"
    )


def test_every_other_name_is_of_the_general_command(tmp_path: Path) -> None:
    for arguments in (["sizes", "--coco", "x"], ["--coco", "x", "sizes"]):
        done = sam_engine("evaluate", *arguments)
        assert done.status == 2
        assert "unknown evaluation 'sizes'" in done.err
    told = sam_engine("evaluate", "--help")
    assert "Usage: sam-engine evaluate [OPTIONS]" in told.out
    assert "Usage: sam-engine evaluate groups [OPTIONS]" in sam_engine("evaluate", "groups", "--help").out
    assert sam_engine("evaluate").status == 2
