"""sam-engine generate and masks: all masks of pictures, and masks of prompts in a file."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.store import Store
from schemas.sa1b import parse_record
from tests.flows.cli_runner import one_error_line, sam_engine
from tests.stages.workspaces import shapes, write_pictures

LOOSE = [
    "--preset",
    "library-default",
    "--set",
    "points_per_side=3",
    "--set",
    "pred_iou_thresh=0",
    "--set",
    "stability_score_thresh=0",
]


def test_generate_does_the_good_pictures_and_names_the_bad(tmp_path: Path, weights: Path) -> None:
    write_pictures(tmp_path / "a", images=1)
    write_pictures(tmp_path / "b", images=1, first_seed=9)
    (tmp_path / "bad.jpg").write_text("no picture")
    pictures = [tmp_path / "a" / "0.png", tmp_path / "bad.jpg", tmp_path / "b" / "0.png"]
    done = sam_engine("generate", *pictures, "-o", tmp_path / "out", "-m", "tiny", *LOOSE, "--overlay", "--json")
    assert done.status == 0
    assert [Path(item["json"]).name for item in done.result["pictures"]] == ["0.json", "0-2.json"]
    assert [item["source"] for item in done.result["rejected"]] == [str(tmp_path / "bad.jpg")]
    for item in done.result["pictures"]:
        record = parse_record(Path(item["json"]).read_bytes(), name=item["json"])
        assert len(record.annotations) == item["masks"] > 0
        assert Image.open(item["overlay"]).size == (record.image.width, record.image.height)
    first = (tmp_path / "out" / "0.json").read_bytes()
    sam_engine("generate", pictures[0], "-o", tmp_path / "out", "-m", "tiny", *LOOSE)
    assert (tmp_path / "out" / "0.json").read_bytes() == first


def test_generate_overwrites_no_file_of_others_and_reads_none_of_its_own(tmp_path: Path, weights: Path) -> None:
    write_pictures(tmp_path / "photos", images=1)
    labelled = tmp_path / "photos" / "0.json"
    labelled.write_text('{"shapes": [], "imagePath": "0.png"}')
    command = ["generate", tmp_path / "photos", "-o", tmp_path / "photos", "-m", "tiny", *LOOSE, "--overlay", "--json"]
    refused = sam_engine(*command)
    assert refused.status == 2
    assert f"{labelled}: there already" in one_error_line(refused.err)
    assert labelled.read_text() == '{"shapes": [], "imagePath": "0.png"}'
    assert not (tmp_path / "photos" / "0_masks.png").exists()
    assert sam_engine(*command, "--force").status == 0
    for _ in range(2):
        again = sam_engine(*command)
        assert [Path(item["image"]).name for item in again.result["pictures"]] == ["0.png"]
    assert not (tmp_path / "photos" / "0_masks.json").exists()


def test_generate_names_further_pages_and_what_it_assumed(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    first, second = (Image.fromarray(shapes(seed)[0]) for seed in range(2))
    first.save(folder / "pages.tif", save_all=True, append_images=[second])
    Image.fromarray(shapes(0)[0][:, :, 0].astype("uint16") * 16).save(folder / "deep.png")
    (folder / "raw.dng").write_bytes(b"")
    done = sam_engine("generate", folder, "-o", tmp_path / "out", "-m", "tiny", *LOOSE, "--json")
    assert {Path(item["source"]).name for item in done.result["rejected"]} == {"pages.tif: page 2", "raw.dng"}
    notes = {Path(item["image"]).name: item.get("notes") for item in done.result["pictures"]}
    assert notes == {"pages.tif": None, "deep.png": ["values of 12 bits in samples of more scaled"]}
    told = sam_engine("generate", folder / "deep.png", "-o", tmp_path / "told", "-m", "tiny", *LOOSE, "--bit-depth", 12)
    assert told.status == 0
    assert (tmp_path / "told" / "deep.json").read_bytes() == (tmp_path / "out" / "deep.json").read_bytes()


def named_masks(content: dict[str, Any]) -> set[tuple[int, str]]:
    """The id of each annotation, with the name of its picture."""
    names = {image["id"]: image["file_name"] for image in content["images"]}
    return {(each["id"], names[each["image_id"]]) for each in content["annotations"]}


def test_boxes_and_points_become_masks_that_ingest_reads(tmp_path: Path, weights: Path) -> None:
    coco = write_pictures(tmp_path / "in", images=2)
    content = json.loads(coco.read_text())
    for number, annotation in enumerate(content["annotations"]):
        annotation["bbox"] = [10 + number, 10, 40, 30]
        del annotation["segmentation"]
    names = [image["file_name"] for image in content["images"]]
    content["images"].append({"id": 99, "file_name": "gone.png"})
    content["annotations"].append({"id": 99, "image_id": 99, "bbox": [1, 1, 5, 5]})
    for annotation in content["annotations"]:
        annotation["id"] += 40
    asked, output = tmp_path / "boxes.json", tmp_path / "out" / "masks.json"
    asked.write_text(json.dumps(content))
    command = ["masks", asked, "-o", output, "--images", tmp_path / "in", "-m", "tiny", "--json"]
    done = sam_engine(*command)
    assert done.status == 0
    assert [item["source"] for item in done.result["rejected"] if item["kind"] == "image"] == ["gone.png"]
    written = json.loads(output.read_text())
    assert [image["file_name"] for image in written["images"]] == names
    assert len(written["annotations"]) == done.result["masks"] > 0
    assert named_masks(written) <= named_masks(content)
    store = sam_engine("init", tmp_path / "w").status == 0 and Store(tmp_path / "w")
    assert store
    report = sam_engine("ingest", tmp_path / "w", output, "--images", tmp_path / "in", "--json")
    assert (report.result["added"], report.result["masks"], report.result["rejected"]) == (
        2,
        len({str(annotation["segmentation"]) + str(annotation["image_id"]) for annotation in written["annotations"]}),
        [],
    )
    assert "there already" in one_error_line(sam_engine(*command).err)
    table = tmp_path / "points.csv"
    table.write_text(f"file_name,x,y\n{names[0]},30,20\n{names[0]},900,20\n")
    points = sam_engine("masks", table, "-o", output, "--images", tmp_path / "in", "-m", "tiny", "--force", "--json")
    assert [item["source"] for item in points.result["rejected"]][-1] == f"{table}: line 3"


def test_generate_with_only_bad_pictures_is_bad_input(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no picture")
    done = sam_engine("generate", tmp_path / "bad.jpg", "-o", tmp_path / "out", "-m", "tiny")
    assert done.status == 2
    assert f"rejected: {tmp_path / 'bad.jpg'}: " in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "best"], "unknown preset 'best'; choose one of paper-sa1b, library-default"),
        (["--set", "points=3"], "--set points: no such setting; there are: points_per_side"),
        (["--set", "points_per_side"], "expected KEY=VALUE"),
        (["--set", "pred_iou_thresh=2"], "--set pred_iou_thresh: input should be less than or equal to 1, found 2"),
        (["--model", "giant"], "no model 'giant'"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
    ],
)
def test_generate_explains_bad_settings(tmp_path: Path, weights: Path, arguments: list[str], says: str) -> None:
    Image.fromarray(shapes(0)[0]).save(tmp_path / "one.png")
    done = sam_engine("generate", tmp_path / "one.png", "-o", tmp_path / "out", *arguments)
    assert done.status == 2
    assert says.lower() in one_error_line(done.err).lower()


def test_generate_refuses_weights_of_another_architecture(tmp_path: Path, weights: Path) -> None:
    import torch

    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    Image.fromarray(shapes(0)[0]).save(tmp_path / "one.png")
    done = sam_engine("generate", tmp_path / "one.png", "-o", tmp_path / "out", "--weights", tmp_path / "other.pth")
    assert done.status == 2
    assert str(tmp_path / "other.pth") in one_error_line(done.err)
