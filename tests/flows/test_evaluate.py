"""sam-engine evaluate and models: models, and how good they are."""

import json
from pathlib import Path

import pytest

from tests.flows.cli_runner import one_error_line, sam_engine
from tests.stages.workspaces import write_pictures


def test_models_are_listed_and_imported(tmp_path: Path, weights: Path) -> None:
    found = sam_engine("models", "list", "--json").result["models"]
    assert "tiny" in [model["name"] for model in found]
    without = sam_engine("models", "list", "--json").result["without_weights"]
    assert [each["name"] for each in without] == ["FastSAM", "Grounded-SAM"]
    shown = sam_engine("models", "list").out.splitlines()
    assert [line.split()[0] for line in shown] == [*(model["name"] for model in found), "FastSAM", "Grounded-SAM"]
    bad = sam_engine("models", "import", tmp_path / "missing.pth")
    assert bad.status == 2
    assert "missing.pth" in one_error_line(bad.err)
    unknown = sam_engine("models", "fetch", "vit_x")
    assert unknown.status == 2
    assert "choose one of vit_h" in one_error_line(unknown.err)


def test_evaluate_measures_points_and_boxes_beside_their_baselines(tmp_path: Path, weights: Path) -> None:
    coco = write_pictures(tmp_path / "a", images=2)
    common = ("--coco", coco, "-m", "tiny", "--max-masks", 4, "--baselines", "--json")
    by_points = sam_engine("evaluate", "points", "--clicks", "1,2", *common).result
    by_boxes = sam_engine("evaluate", "boxes", *common).result
    assert list(by_points["points"]) == ["1", "2"]
    assert by_points["masks"] == by_boxes["masks"] == 4
    for scores in (by_points["points"]["1"], by_points["baselines"]["felzenszwalb"], by_boxes["box"]):
        assert scores["oracle"]["miou"] >= scores["confident"]["miou"]
        assert 0 <= scores["oracle"]["low"] <= scores["oracle"]["miou"] <= scores["oracle"]["high"] <= 1
    assert by_boxes["baselines"]["grabcut"]["confident"]["miou"] > 0.3
    for name, key in (("masks", "masks_alone"), ("shapes", "shapes")):
        measured = sam_engine("evaluate", name, *common[:-2], "--json").result
        assert (measured["masks"], list(measured)[-1]) == (4, key)
    table = sam_engine("evaluate", "boxes", *common[:-1])
    assert table.status == 0
    assert "grabcut" in table.out


def test_evaluate_measures_instances_from_the_boxes_of_a_detector(tmp_path: Path, weights: Path) -> None:
    coco = write_pictures(tmp_path / "a", images=2)
    asked = ("evaluate", "instances", "--coco", coco, "-m", "tiny")
    detections = [
        {"image_id": each["image_id"], "category_id": 1, "bbox": [2, 2, 40, 30], "score": 0.5}
        for each in json.loads(coco.read_text())["annotations"]
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps([*detections, detections[0] | {"image_id": 77}]))
    done = sam_engine(*asked, "--set", f"boxes={results}", "--json")
    assert done.result["unknown_detections"] == 1
    assert set(done.result["instances"]) == {"from_boxes"}
    assert f"{results}: on no picture of the ground truth: detections: 1, image ids: 1: 77" in done.err
    results.write_text(json.dumps([detections[0] | {"image_id": 77}]))
    strange = sam_engine(*asked, "--set", f"boxes={results}")
    assert strange.status == 2
    assert "no detection is on a picture of the ground truth" in one_error_line(strange.err)
    chosen = sam_engine("evaluate", "edges", "--coco", coco, "-m", "tiny", "--max-masks", 1)
    assert chosen.status == 2
    assert "leave --max-masks and --min-area out" in one_error_line(chosen.err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["corners"], "unknown evaluation 'corners'; known: points, boxes, masks, shapes, edges"),
        (["masks", "--baselines"], "evaluation 'masks' has no setting 'baselines'; it has: none"),
        (["points", "--set", "click=3"], "evaluation 'points' has no setting 'click'; it has: clicks, baselines"),
    ],
)
def test_an_evaluation_is_asked_for_what_it_has(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = sam_engine("evaluate", *arguments, "--coco", tmp_path / "masks.json")
    assert done.status == 2
    assert said in one_error_line(done.err)
