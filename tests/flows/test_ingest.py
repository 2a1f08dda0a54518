"""sam-engine ingest: what comes in, and why the rest does not."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import write_pictures


def test_ingest_takes_the_good_and_names_the_bad(tmp_path: Path) -> None:
    sam_engine("init", tmp_path / "ws")
    write_pictures(tmp_path / "in", images=2)
    (tmp_path / "in" / "empty.png").touch()
    (tmp_path / "in" / "text.jpg").write_text("this is no picture")
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "0.png").read_bytes()[:200])
    Image.fromarray(np.zeros((1, 1, 3), dtype=np.uint8)).save(tmp_path / "in" / "dot.png")
    done = sam_engine("ingest", tmp_path / "ws", tmp_path / "in", "--json")
    assert done.status == 0
    assert done.result["added"] == 2
    assert {Path(item["source"]).name for item in done.result["rejected"]} == {
        "empty.png",
        "text.jpg",
        "cut.png",
        "dot.png",
    }
    for name in ("empty.png", "text.jpg", "cut.png", "dot.png"):
        assert f"rejected: {tmp_path / 'in' / name}: " in done.err
    listed = sam_engine("status", tmp_path / "ws", "--rejected")
    assert str(tmp_path / "in" / "text.jpg") in listed.out
    again = sam_engine("ingest", tmp_path / "ws", tmp_path / "in", "--json")
    assert (again.result["added"], again.result["duplicates"]) == (0, 2)


def test_ingest_of_nothing_good_is_bad_input(tmp_path: Path) -> None:
    sam_engine("init", tmp_path / "ws")
    (tmp_path / "bare").mkdir()
    done = sam_engine("ingest", tmp_path / "ws", tmp_path / "bare", tmp_path / "missing")
    assert done.status == 2
    assert f"rejected: {tmp_path / 'bare'}: no pictures in this folder" in done.err
    assert f"rejected: {tmp_path / 'missing'}: no such file or folder" in done.err


def test_ingest_names_broken_coco(tmp_path: Path) -> None:
    sam_engine("init", tmp_path / "ws")
    path = write_pictures(tmp_path / "in", images=2)
    coco = json.loads(path.read_text())
    coco["annotations"][0]["segmentation"]["counts"] = "~~~"
    coco["images"].append({"id": 9, "file_name": "gone.png", "height": 5, "width": 5})
    path.write_text(json.dumps(coco))
    done = sam_engine("ingest", tmp_path / "ws", path, "--json")
    assert done.status == 0
    assert (done.result["added"], done.result["masks"]) == (2, 5)
    reasons = [item["reason"] for item in done.result["rejected"]]
    assert len(reasons) == 2
    assert any("RLE" in reason for reason in reasons)
