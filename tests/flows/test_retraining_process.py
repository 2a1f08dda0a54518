"""A retraining in processes of its own: they are heard, end with who started them, and go on when they were killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml

from engine.importance import IMPORTANCE_FILE, write_importance
from engine.known_pictures import KNOWN_PICTURES_FILE, describe_pictures, write_known_pictures
from engine.metrics import REGISTRY
from engine.store import Store
from flows import retraining_process
from flows.retraining_process import RetrainingProcess, retraining_of
from model.registry import find_model, list_models
from model.storage import load_model
from schemas.config import CONFIG_FILE, FlowConfig
from schemas.errors import DivergedError, InputError, WaitError
from schemas.tables import Round
from stages.planning import next_step
from stages.progress import silent
from stages.rounds import tick
from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import SETTINGS, make_workspace

STAGE = "assisted_manual"
SAID = retraining_process._SAID


@pytest.fixture(scope="module")
def annotated_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose next step is a retraining, and whose model says on which weights known things rest, and that
    its pictures look otherwise."""
    folder = tmp_path_factory.mktemp("annotated")
    store = make_workspace(folder, images=6, holdout=2, assisted_manual={"rounds": 1}, retraining={"steps": 3})
    while next_step(store, STAGE).action != "retrain":
        tick(store, STAGE)
    sam, info = load_model("tiny", store.files.model_roots())
    known = {name: torch.ones_like(value) for name, value in sam.named_parameters()}
    write_importance(known, info.folder / IMPORTANCE_FILE)
    rng = np.random.default_rng(0)
    bright = describe_pictures(sam, rng.integers(180, 256, (40, 48, 56, 3), dtype=np.uint8))
    write_known_pictures(bright, sam, info.folder / KNOWN_PICTURES_FILE)
    return folder


@pytest.fixture
def annotated(annotated_once: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(annotated_once, tmp_path, dirs_exist_ok=True) / "workspace")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With a round, and a model."""
    store = make_workspace(tmp_path)
    model = find_model("tiny", store.files.model_roots()).model_id
    store.put_round(Round(STAGE, 1, store.image_index().ids[:2], "annotated", model_before=model))
    return store


def says(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    """Have these programs started in the place of the retraining, one after the other."""
    given = iter(programs)
    monkeypatch.setattr(retraining_process, "_command", lambda *_: [sys.executable, "-c", next(given)])


def said(**what: Any) -> str:
    return f"print({SAID + json.dumps(what)!r}, flush=True)\n"


def run(store: Store, told: list[str], *, retries: int = 0, progress: Any = silent) -> Any:
    record = store.rounds()[0]
    return RetrainingProcess(1, retries, told.append)(store, store.files.settings(), record, progress)


def test_what_it_says_is_heard(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = store.rounds()[0].model_before
    rates = {"sam_engine_training_loss": 0.25, "sam_engine_training_images_per_second": 7.5}
    moved = said(progress=["retraining", 1, 3, "loss 0.250"], rates=rates)
    says(monkeypatch, f"print('a line')\n{moved}import sys; print('another', file=sys.stderr)\n{said(made=model)}")
    told: list[str] = []
    seen: list[Any] = []
    found = run(store, told, progress=lambda *what: seen.append(what))
    assert (found.model_id, found.used) == (model, model)
    assert seen == [("retraining", 1, 3, "loss 0.250")]
    assert told == ["a line", "another"]
    assert REGISTRY.get_sample_value("sam_engine_training_images_per_second") == 7.5


@pytest.mark.parametrize("error", [InputError, WaitError, DivergedError])
def test_what_it_refuses_is_raised_here(store: Store, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    says(monkeypatch, said(error=error.__name__, message="no masks") + "import sys; sys.exit(3)")
    with pytest.raises(error, match=r"^no masks$"):
        run(store, [], retries=5)


def test_one_that_dies_is_started_again_so_many_times(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model, killed = store.rounds()[0].model_before, "import os; print('x', flush=True); os.kill(os.getpid(), 9)"
    told: list[str] = []
    says(monkeypatch, killed, killed, said(made=model))
    assert run(store, told, retries=2).model_id == model
    assert told == [
        "x",
        "the retraining died (1 of 2) and goes on from its last checkpoint",
        "x",
        "the retraining died (2 of 2) and goes on from its last checkpoint",
    ]
    says(monkeypatch, killed, killed)
    with pytest.raises(InputError, match=r"^assisted_manual round 1: its retraining died 2 times"):
        run(store, [], retries=1)


def test_what_ends_this_process_ends_it_and_all_that_it_started(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one does not mind being asked to end."""
    monkeypatch.setattr(retraining_process, "_TO_END_S", 0.3)
    started = "import subprocess, sys, os, time\nother = subprocess.Popen(['sleep', '60'])\n"
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    for ears in ("", deaf):
        program = f"{started}{ears}print(os.getpid(), other.pid, flush=True)\ntime.sleep(60)"
        says(monkeypatch, program)
        pids: list[int] = []

        def stop(line: str, pids: list[int] = pids) -> None:
            pids.extend(map(int, line.split()))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            RetrainingProcess(1, 0, stop)(store, store.files.settings(), store.rounds()[0], silent)
        assert len(pids) == 2
        assert gone(pids)


def gone(pids: list[int], *, within_s: float = 20.0) -> bool:
    end = time.monotonic() + within_s
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_it_ends_when_who_started_it_is_killed() -> None:
    watching = "from flows.retraining_process import _end_with_starter\n_end_with_starter()\n"
    child = f"{watching}import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    parent = (
        "import sys\nfrom flows.retraining_process import _started\n"
        f"with _started([sys.executable, '-c', {child!r}]) as lines:\n"
        "    print(next(lines), flush=True)\n    next(lines)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert gone([pid])


def test_the_setting_says_where(store: Store) -> None:
    assert retraining_of(FlowConfig(), print) is None
    config = FlowConfig(training="process", training_processes=2, retries=4)
    assert retraining_of(config, print) == RetrainingProcess(2, 4, print)
    assert RetrainingProcess(None, 0, print)._count >= 1
    command = retraining_process._command(2, store, store.rounds()[0])
    assert command[1:4] == ["-m", "accelerate.commands.launch", "--multi_gpu"]
    assert command[-5:] == ["--module", "flows.retraining_process", str(store.workspace), STAGE, "1"]


def models(store: Store) -> list[tuple[str, str]]:
    return sorted((model.name, model.model_id) for model in list_models([store.workspace / "models"]))


@pytest.mark.slow
def test_it_makes_the_model_that_this_process_makes(annotated: Store, tmp_path: Path) -> None:
    """Its first processes are killed once the steps are done: the second ones find the checkpoint of the last step."""
    alone = Store(shutil.copytree(annotated.workspace, tmp_path / "alone"))
    tick(alone, STAGE)
    steps: list[tuple[str, int]] = []
    kills = iter([True, False])

    def kill_when_trained(what: str, done: int, total: int, note: str = "") -> None:
        steps.append((what, done))
        if "measuring after" in what and next(kills, False):
            for process in psutil.Process().children(recursive=True):
                if "flows.retraining_process" in process.cmdline() and "accelerate" not in str(process.cmdline()):
                    process.kill()

    told: list[str] = []
    result = tick(annotated, STAGE, progress=kill_when_trained, retraining=RetrainingProcess(1, 2, told.append))
    assert result.action == "retrain"
    assert any("died (1 of 2)" in line for line in told), told
    trained = [done for what, done in steps if what.endswith(", retraining")]
    assert trained == [1, 2, 3], "no step was made twice"
    assert models(annotated) == models(alone)
    assert annotated.rounds() == alone.rounds()


@pytest.mark.slow
def test_several_processes_share_the_steps(annotated: Store) -> None:
    told: list[str] = []
    seen: list[str] = []
    process = RetrainingProcess(2, 0, told.append)
    result = tick(annotated, STAGE, progress=lambda what, *_: seen.append(what), retraining=process)
    assert result.action == "retrain", told
    assert [what for what in seen if what.endswith(", retraining")] == ["assisted_manual round 1, retraining"] * 3
    (name,) = {name for name, _ in models(annotated)} - {"tiny"}
    assert annotated.rounds()[0].state == "retrained"
    assert name.startswith("assisted_manual-1-")


@pytest.mark.slow
def test_a_command_that_is_ended_ends_its_retraining_and_goes_on_later(annotated: Store) -> None:
    settings = SETTINGS | {"flow": {"training": "process"}, "retraining": {"steps": 60, "masks_per_image": 2}}
    (annotated.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings))
    command = [Path(sys.executable).parent / "sam-engine", "run", STAGE, annotated.workspace]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        assert any("retraining: 1/60" in line for line in process.stderr)
        pids = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGTERM)
    assert len(pids) >= 2
    assert gone(pids)
    assert annotated.rounds()[0].state == "annotated"
    assert sam_engine("run", STAGE, annotated.workspace).status == 0
    assert annotated.rounds()[0].state == "retrained"


def test_masks_that_are_missing_are_told_by_it(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """As one of its processes says it."""

    def refuse(*_: object) -> None:
        raise WaitError("there are no masks to train on")

    monkeypatch.setattr("stages.retraining.share_of_retraining", refuse)
    monkeypatch.setattr(retraining_process, "_end_with_starter", lambda: None)
    with pytest.raises(SystemExit):
        retraining_process.main(str(store.workspace), STAGE, "1")
    line = capsys.readouterr().out.strip()
    assert json.loads(line.removeprefix(SAID)) == {"error": "WaitError", "message": "there are no masks to train on"}
