"""A run that is stopped by a signal, by Ctrl-C or by a closed terminal: nothing is left running, and it can go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.stages import Stage
from stages.rounds import tick
from tests.e2e.test_killed_flow import ROOT, contents, copy_of, environment
from tests.stages.workspaces import make_workspace

STAGE: Stage = "assisted_manual"
_STARTING, _WORKING = "starting Prefect", f"{STAGE} round 1: "
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc"),
]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which nothing was done yet."""
    return make_workspace(tmp_path_factory.mktemp("before"), images=4, **{STAGE: {"rounds": 1}}).workspace


@pytest.fixture(scope="module")
def unharmed(before: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the tables hold when nothing is stopped."""
    store = copy_of(before, tmp_path_factory.mktemp("unharmed"))
    while tick(store, STAGE).state != "done":
        pass
    return contents(store)


def servers_of(workspace: Path) -> list[str]:
    """Command lines of Prefect's servers whose state lies in this workspace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, settings = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:  # it has ended, or it is another user's
            continue
        if b"prefect_server" in command and f"PREFECT_HOME={workspace}/".encode() in settings:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def wait_for_no_server(workspace: Path, *, at_most_s: float) -> list[str]:
    """Those that are still there then."""
    end = time.monotonic() + at_most_s
    while (found := servers_of(workspace)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize(
    ("number", "to_all", "moment", "status"),
    [
        (signal.SIGTERM, False, _WORKING, -signal.SIGTERM),
        (signal.SIGTERM, False, _STARTING, -signal.SIGTERM),
        (signal.SIGINT, True, _WORKING, 130),  # a terminal tells all processes of the group
        (signal.SIGHUP, True, _WORKING, -signal.SIGHUP),
        (signal.SIGKILL, False, _WORKING, -signal.SIGKILL),
    ],
    ids=["SIGTERM", "SIGTERM-at-the-start", "Ctrl-C", "closed-terminal", "SIGKILL"],
)
def test_a_stopped_run_leaves_no_server_and_a_workspace_that_goes_on(
    before: Path,
    unharmed: dict[str, Any],
    tmp_path: Path,
    number: signal.Signals,
    to_all: bool,
    moment: str,
    status: int,
) -> None:
    store = copy_of(before, tmp_path)
    command = [sys.executable, "-m", "flows.cli", "run", STAGE, store.workspace, "--until-done"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stderr is not None
        assert any(moment in line for line in run.stderr), "it ended before"
        if moment == _WORKING:
            assert len(servers_of(store.workspace)) == 1
        else:
            wait_for_a_server(store.workspace)
        (os.killpg if to_all else os.kill)(run.pid, number)
        said = run.stderr.read()  # ends when nobody can write to it any more, the server included
        assert run.wait() == status, said
    assert "Traceback" not in said
    assert ("the same command goes on from here" in said) == (number == signal.SIGINT)
    assert wait_for_no_server(store.workspace, at_most_s=30) == []
    assert [record.state for record in store.rounds()] in ([], ["open"]), "it was stopped before the end"
    while tick(store, STAGE).state != "done":
        pass
    assert contents(store) == unharmed


def wait_for_a_server(workspace: Path) -> None:
    end = time.monotonic() + 120
    while not servers_of(workspace):
        assert time.monotonic() < end, "no server was started"
        time.sleep(0.05)
