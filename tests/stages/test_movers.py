"""Two processes on one stage: one moves it, the other says so and ends well; a killed one is in nobody's way."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.store import Store
from flows.running import run_flow
from schemas.stages import Stage
from stages import rounds
from stages.movers import only_mover
from stages.planning import next_step
from stages.quality import move_gate
from stages.rounds import tick
from tests.flows.cli_runner import sam_engine
from tests.forks import PROCESSES
from tests.stages.gates_at_work import annotated_round, label_studio
from tests.stages.workspaces import make_workspace

STAGE: Stage = "assisted_manual"
RACES = int(os.environ.get("SAM_ENGINE_KILL_SEEDS", "6"))


def hold(workspace: Path, held: Event) -> None:
    with only_mover(Store(workspace), STAGE) as alone:
        assert alone
        held.set()
        signal.pause()


@contextmanager
def another_mover(store: Store) -> Iterator[Any]:
    """A process that moves the stage and never comes to an end."""
    held = PROCESSES.Event()
    process = PROCESSES.Process(target=hold, args=(store.workspace, held))
    process.start()
    try:
        assert held.wait(60)
        yield process
    finally:
        process.kill()
        process.join()


def test_a_second_run_says_so_and_ends_well(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=3, holdout=0)
    tick(store, STAGE)
    before = store.versions()
    line = f"another run works on {STAGE} of {store.files} here; it does what there is to do, and this one ends"
    with another_mover(store):
        for command in (("run", STAGE), ("labeling", "sync", "--stage", STAGE), ("run", STAGE, "--until-done")):
            done = sam_engine(*command, store.workspace)
            assert (done.status, done.out.split("\n")) == (0, [f"{STAGE}: {line}", ""]), command
        assert run_flow(store, "data_engine", lambda *_, **__: None)[STAGE][0]["state"] == "waiting"
        assert store.versions() == before
        with only_mover(store, "semi_automatic") as alone:
            assert alone, "each stage has a mover of its own"
    assert tick(store, STAGE).state == "advanced"


def test_who_is_killed_is_in_nobody_s_way(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=3, holdout=0)
    with another_mover(store) as process:
        assert tick(store, STAGE).state == "waiting"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert tick(store, STAGE).action == "open"


def test_a_gate_is_moved_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = label_studio(monkeypatch)
    store = annotated_round(tmp_path)
    with another_mover(store):
        found = move_gate(store, "exhaustivity")
        assert (found.finished, found.found) == (False, None)
        assert "another run works on" in found.message
        assert not server.stored
    assert "0 of 4 are answered" in move_gate(store, "exhaustivity").message


def test_the_next_step_is_looked_for_by_who_may_do_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run that looked before the first was done would do its step again."""
    store = make_workspace(tmp_path, images=3, holdout=0)
    looked: list[bool] = []

    def look(*arguments: Any) -> Any:
        with another_try(store) as alone:
            looked.append(alone)
        return next_step(*arguments)

    monkeypatch.setattr(rounds, "next_step", look)
    tick(store, STAGE)
    assert looked == [False]


@contextmanager
def another_try(store: Store) -> Iterator[bool]:
    """Whether somebody else could move the stage now."""
    answers = PROCESSES.Queue()
    process = PROCESSES.Process(target=try_it, args=(store.workspace, answers))
    process.start()
    yield answers.get(timeout=60)
    process.join()


def try_it(workspace: Path, answers: Any) -> None:
    with only_mover(Store(workspace), STAGE) as alone:
        answers.put(alone)


def race(workspace: Path, together: Barrier) -> None:
    torch.set_num_threads(1)
    store = Store(workspace)
    together.wait(60)
    while tick(store, STAGE).state == "advanced":
        pass


def contents(store: Store) -> dict[str, Any]:
    tables = {
        name: sorted(map(repr, store.read_table(name).to_pylist())) for name in store.counts() if name != "rounds"
    }
    records = [json.loads(json.dumps(vars(record), default=repr)) for record in store.rounds()]
    models = sorted(path.name for path in (store.workspace / "models").iterdir())
    return {**tables, "records": records, "models": models}


def raced(workspace: Path, *, racers: int) -> dict[str, Any]:
    """What is there after so many processes did the stage at once."""
    together = PROCESSES.Barrier(racers)
    processes = [PROCESSES.Process(target=race, args=(workspace, together)) for _ in range(racers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * racers
    return contents(Store(workspace))


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_races_end_as_one_run_does(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"assisted_manual": {"rounds": 1}, "retraining": {"steps": 1, "masks_per_image": 1}}
    template = make_workspace(tmp_path / "template", images=2, holdout=0, **settings).workspace
    expected = raced(shutil.copytree(template, tmp_path / "alone" / "workspace"), racers=1)
    for number in range(RACES):
        workspace = shutil.copytree(template, tmp_path / str(number) / "workspace")
        assert raced(workspace, racers=2) == expected
        assert not list(workspace.rglob(".*.tmp"))
