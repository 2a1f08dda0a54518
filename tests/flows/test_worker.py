"""What keeps a worker running, and what spares it deaths."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import asking
from flows.worker import worker_command
from stages.approvals import Approved

_KEEP = "import sys; from flows.worker import keep_running; keep_running(sys.argv[1:], again_after_s=0.1)"
# Says that it began; the first dies, the second does until it is told to end.
_DIES_ONCE = """
import pathlib, signal, sys, time
file = pathlib.Path(sys.argv[1])
began = file.read_text() if file.exists() else ""
signal.signal(signal.SIGTERM, lambda *_: (file.write_text(file.read_text() + "ended"), sys.exit()))
file.write_text(began + "began ")
if began:
    time.sleep(600)
sys.exit(3)
"""


def test_a_worker_that_dies_is_started_again_until_sigterm(tmp_path: Path) -> None:
    file = tmp_path / "said"
    command = [sys.executable, "-c", _KEEP, sys.executable, "-c", _DIES_ONCE, str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as keeper:
        try:
            end = time.monotonic() + 60
            while not file.exists() or file.read_text() != "began began ":
                assert time.monotonic() < end
                time.sleep(0.05)
            keeper.send_signal(signal.SIGTERM)
            said = keeper.communicate(timeout=60)[1]
        finally:
            keeper.kill()
    assert keeper.returncode == 0
    assert said == "the worker ended by itself (exit status 3); it is started again in 0.1 s\n"
    assert file.read_text() == "began began ended"


def test_its_runs_are_processes_of_the_pool() -> None:
    words = "-m prefect worker start --pool mine --type process --limit 3"
    assert worker_command("mine", 3) == [sys.executable, *words.split()]


def test_a_run_goes_on_when_the_process_that_suspended_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker that is to start a run whose process it still has, dies: anyio's limit has one token a run."""
    environment = os.environ | {"PREFECT__FLOW_RUN_ID": "of-this-test"}
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"], env=environment)
    resumed = []

    class Client:
        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def resume_flow_run(self, run_id: str, run_input: dict[str, Any]) -> None:
            resumed.append((run_id, run_input, process.poll()))

    monkeypatch.setattr(asking, "get_client", lambda **_: Client())
    monkeypatch.setattr(asking, "_asking", lambda *_: [SimpleNamespace(id="of-this-test")])
    wanted = Approved("release", "of this", by="Ann", note="")
    try:
        assert asking.resume_answered(SimpleNamespace(), wanted, by="Ann", note="") == 1  # type: ignore[arg-type]
    finally:
        process.kill()
        process.wait()
    assert resumed == [("of-this-test", {"approved": True, "by": "Ann", "note": ""}, 0)]
