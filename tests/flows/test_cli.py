"""The command line: results on standard output, one line for what a user did wrong, exit 0, 1 or 2."""

import errno
import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from engine import rle
from engine.keys import content_key
from engine.store import Store
from flows.cli import app
from schemas.mask import Prompt
from schemas.sa1b import parse_record
from schemas.tables import table_of
from stages.rounds import tick
from tests.flows.cli_runner import sam_engine
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace, shapes, tiny_sam, write_pictures


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(tmp_path, images=3, holdout=1)


def one_error_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


def test_help_does_without_heavy_imports() -> None:
    heavy = "torch prefect deltalake matplotlib skimage scipy pyarrow numpy cv2 accelerate"
    code = (
        "import sys\n"
        "sys.argv = ['sam-engine', '--help']\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [name for name in '{heavy}'.split() if name in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "LOADED []" in done.stdout
    for command in (
        "demo",
        "init",
        "ingest",
        "run",
        "status",
        "generate",
        "train",
        "evaluate",
        "models",
        "release",
        "labeling",
        "study",
        "ablate",
        "explain",
    ):
        assert f"\n  {command} " in done.stdout
    # Time on the processor: the wall clock of a busy machine says little.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_init_makes_a_workspace_once(tmp_path: Path) -> None:
    made = sam_engine("init", tmp_path / "ws", "--json")
    assert made.status == 0
    assert made.result["config"] == str(tmp_path / "ws" / "engine.yaml")
    assert "accept_iou" in (tmp_path / "ws" / "engine.yaml").read_text()
    again = sam_engine("init", tmp_path / "ws")
    assert again.status == 2
    assert "is a workspace already" in one_error_line(again.err)


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


@pytest.mark.parametrize("command", ["status", "ingest", "run"])
def test_what_is_no_workspace_is_named(tmp_path: Path, command: str) -> None:
    arguments = {"status": [tmp_path], "ingest": [tmp_path, tmp_path], "run": ["assisted_manual", tmp_path]}[command]
    done = sam_engine(command, *arguments)
    assert done.status == 2
    assert f"{tmp_path}" in one_error_line(done.err)
    assert "sam-engine init" in done.err


def test_a_misspelt_setting_is_named(store: Store) -> None:
    config = store.workspace / "engine.yaml"
    config.write_text(config.read_text().replace("max_clicks", "max_cliks"))
    done = sam_engine("run", "assisted_manual", store.workspace)
    assert done.status == 2
    line = one_error_line(done.err)
    assert "annotator.max_cliks" in line
    assert "did you mean 'max_clicks'?" in line


def test_an_unknown_stage_is_bad_input(store: Store) -> None:
    done = sam_engine("run", "manual", store.workspace, "--json")
    assert done.status == 2
    assert "choose one of assisted_manual" in one_error_line(done.err)
    assert "unknown stage" in done.result["error"]


def test_a_stage_out_of_turn_fails_and_says_what_comes_first(store: Store) -> None:
    done = sam_engine("run", "semi-automatic", store.workspace)
    assert done.status == 1
    assert f"sam-engine run assisted_manual {store.workspace} --until-done" in one_error_line(done.err)


def test_run_does_one_tick_and_status_shows_it(store: Store) -> None:
    first = sam_engine("run", "assisted_manual", store.workspace, "--json")
    assert first.status == 0
    assert (first.result["action"], first.result["state"]) == ("open", "advanced")
    status = sam_engine("status", store.workspace, "--json").result
    assert status["stages"]["assisted_manual"]["next"] == "annotate"
    assert status["stages"]["semi_automatic"]["next"] == "wait"
    assert status["rows"]["images"] == 3
    assert [model["name"] for model in status["models"]] == ["tiny"]
    text = sam_engine("status", store.workspace).out
    assert "assisted_manual: annotate 1 images" in text
    assert "semi_automatic: waiting: semi_automatic needs the model" in text


def test_explain_follows_a_mask_to_its_model_and_image(store: Store) -> None:
    for _ in range(2):
        tick(store, "assisted_manual")
    mask = store.read_table("assisted_manual").to_pylist()[0]
    done = sam_engine("explain", store.workspace, mask["mask_id"], "--json")
    assert done.status == 0
    found = done.result
    assert found["image"]["image_id"] == mask["image_id"]
    assert found["image"]["source"].endswith(".png")
    assert found["mask"]["annotator"] == "simulated"
    assert [model["name"] for model in found["models"]] == (["tiny"] if mask["model_id"] else [])
    assert [event["kind"] for event in found["events"]][-1] in ("accept", "draw")
    text = sam_engine("explain", store.workspace, mask["mask_id"]).out
    assert "(simulated)" in text
    unknown = sam_engine("explain", store.workspace, 5)
    assert unknown.status == 2
    assert "no mask 5" in one_error_line(unknown.err)


def test_explain_prints_every_part_of_the_prompt(store: Store) -> None:
    """A mask that a detector's box made, and one that was mended from it with two clicks."""
    image = store.images().to_pylist()[0]
    hw = (image["height"], image["width"])
    boxed, mended = (rle.encode(np.arange(hw[0] * hw[1]).reshape(hw) < pixels) for pixels in (500, 600))
    place = {"image_id": image["image_id"], "shard": image["shard"], "stage": "semi_automatic", "round": 1}
    points = ((12.0, 5.5, 1), (30.0, 40.0, 0))
    prompts = {boxed: Prompt(box=(2.0, 3.5, 40.25, 20.0)), mended: Prompt(points=points, mask=boxed)}
    rows = [mask_row(mask, **place, origin="automatic", prompt=prompt) for mask, prompt in prompts.items()]
    key = content_key("explain")
    store.replace_shard("semi_automatic", image["shard"], table_of("semi_automatic", rows), round=1, key=key)
    first, second = (sam_engine("explain", store.workspace, row["mask_id"]).out for row in rows)
    assert "  prompt: box [2.0, 3.5, 40.2, 20.0] (XYXY)\n" in first
    assert "  prompt: points (12, 5.5) +, (30, 40) -; the mask that was there before\n" in second
    found = sam_engine("explain", store.workspace, rows[1]["mask_id"], "--json").result["mask"]
    assert found["mask_prompt"] == boxed.to_coco()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's models folder with the tiny model in it."""
    from model.registry import ModelCard
    from model.storage import save_model

    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    save_model(tiny_sam(), tmp_path / "home" / "models", ModelCard(name="tiny"))
    return tmp_path / "home" / "models" / "tiny" / "weights.safetensors"


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


ON_A_DEVICE = {
    "generate": ["one.png", "-o", "out"],
    "masks": ["masks.json", "-o", "out.json"],
    "train": ["--coco", "masks.json", "--steps", "1"],
    "train-detector": ["--coco", "masks.json"],
    "train-text": ["--coco", "masks.json"],
    "ablate": ["work", "ablation.yaml"],
    "evaluate groups": ["--coco", "masks.json", "--groups", "groups.csv"],
    "evaluate suite": ["suite.yaml"],
    "release report": ["release", "--groups", "groups.csv"],
}


def test_all_commands_with_a_device_are_known_here() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    leaves = {name: getattr(command, "commands", {name: command}) for name, command in commands.items()}
    found = {
        f"{name} {leaf}" if leaf != name else name
        for name, children in leaves.items()
        for leaf, command in children.items()
        if any("--device" in option.opts for option in command.params)
    }
    assert found == set(ON_A_DEVICE)


@pytest.mark.parametrize(
    "command",
    [
        *([*name.split(), *arguments] for name, arguments in ON_A_DEVICE.items()),
        ["evaluate", "points", "--coco", "masks.json"],
    ],
    ids=[*ON_A_DEVICE, "evaluate points"],
)
def test_a_device_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path, command: list[str]
) -> None:
    write_pictures(tmp_path / "in", images=1)
    (tmp_path / "in" / "groups.csv").write_text("id,group\n1,a\n2,b\n")
    (tmp_path / "in" / "suite.yaml").write_text("sets: {one: {coco: masks.json}}\nmodels: [nano]\noutput: out\n")
    monkeypatch.chdir(tmp_path / "in")
    model = [] if {"suite", "ablate"} & set(command) else ["--model", "tiny"]  # these name models in their files
    for device in ("tpu", "cuda:99"):
        done = sam_engine(*command, *model, "--device", device)
        assert done.status == 2
        assert f"no device '{device}' here; choose one of auto, cpu" in one_error_line(done.err)


def test_a_device_in_the_settings_is_checked(store: Store) -> None:
    config = store.workspace / "engine.yaml"
    for device, says in (("tpu", "model.device: string should match pattern"), ("cuda:99", "no device 'cuda:99' here")):
        config.write_text(config.read_text().replace("device: cpu", f"device: {device}"))
        done = sam_engine("run", "assisted_manual", store.workspace)
        if done.status == 0:  # the first tick opens the round, which needs none
            done = sam_engine("run", "assisted_manual", store.workspace)
        assert done.status == 2
        assert says in one_error_line(done.err)
        config.write_text(config.read_text().replace(f"device: {device}", "device: cpu"))


def test_status_says_which_model_each_round_had_and_what_came_of_its_retraining(store: Store) -> None:
    for _ in range(3):
        tick(store, "assisted_manual")
    (record,) = store.rounds()
    assert (
        "  assisted_manual 1: retrained, model tiny, 3 masks on 1 images" in sam_engine("status", store.workspace).out
    )
    for accepted in (True, False):
        guard = {"accepted": accepted, "reason": "mIoU fell by .1"}
        store.put_round(replace(record, metrics=record.metrics.updated({"guard": guard})))
        found = sam_engine("status", store.workspace, "--json").result["rounds"][0]
        assert (found["model"], found["guard"]) == ("tiny", guard)
        text = sam_engine("status", store.workspace).out
        assert ("retrained model not used: mIoU fell by .1" in text) == (not accepted)


def test_status_says_that_people_are_waited_for(store: Store) -> None:
    tick(store, "assisted_manual")
    config = store.workspace / "engine.yaml"
    config.write_text(config.read_text().replace("annotator:\n", "annotator:\n  kind: label_studio\n"))
    text = sam_engine("status", store.workspace).out
    assert "assisted_manual: annotate 1 images, by people in Label Studio" in text


def test_generate_refuses_weights_of_another_architecture(tmp_path: Path, weights: Path) -> None:
    import torch

    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    Image.fromarray(shapes(0)[0]).save(tmp_path / "one.png")
    done = sam_engine("generate", tmp_path / "one.png", "-o", tmp_path / "out", "--weights", tmp_path / "other.pth")
    assert done.status == 2
    assert str(tmp_path / "other.pth") in one_error_line(done.err)


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


def test_usage_errors_are_bad_input() -> None:
    assert sam_engine("run").status == 2
    assert sam_engine("fly").status == 2


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/data/x"),
            1,
            "/data/x: No space left on device; free some space",
        ),
        (OSError(errno.EACCES, "Permission denied", "/data/x"), 1, "/data/x: Permission denied; check the permissions"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, says: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("engine.store.Store.create", refuse)
    done = sam_engine("init", tmp_path / "ws")
    assert done.status == status
    assert says in one_error_line(done.err)
