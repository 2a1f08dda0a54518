"""The command line: results on standard output, one line for what a user did wrong, exit 0, 1 or 2."""

import errno
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer

from engine import rle
from engine.keys import content_key
from engine.store import Store
from flows.cli import app
from schemas.mask import Prompt
from schemas.tables import table_of
from stages.rounds import tick
from tests.flows.cli_runner import one_error_line, sam_engine
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace, write_pictures


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(tmp_path, images=3, holdout=1)


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
    assert "assisted_manual: annotate 1 image\n" in text
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
        "  assisted_manual 1: retrained, model tiny, 3 masks on 1 image, " in sam_engine("status", store.workspace).out
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
    assert "assisted_manual: annotate 1 image, by people in Label Studio" in text


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
