"""Records of runs at work: they are true of processes that were killed, too."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from engine import files
from engine.store import Store
from flows import run_records
from flows.commands import status
from flows.run_records import also_told, forget_dead, innermost_record, records, run_record
from schemas.errors import InputError
from stages.progress import silent
from tests.flows.cli_runner import sam_engine

ROOT = Path(__file__).parents[2]
_HOLDS_ONE = """
import sys, time
from engine.workspace import Workspace
from flows.run_records import run_record
with run_record(Workspace(sys.argv[1]), what="held", flow_run="0e") as record:
    record.tell("shards", 3, 4, "loss 0.1")
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_run_is_at_work_for_as_long_as_its_block_lasts(store: Store) -> None:
    with run_record(store.files, what="outer", flow_run="1a") as outer, run_record(store.files, what="inner"):
        assert [(record.what, alive) for record, alive in records(store.files)] == [("outer", True), ("inner", True)]
        inside = innermost_record()
        assert inside is not None
        assert inside.record.what == "inner"
        assert outer.record.pid == os.getpid()
    assert innermost_record() is None
    ((record, alive),) = records(store.files)
    assert (record.what, alive) == ("outer", False), "one of Prefect's stays until Prefect has heard of its end"
    assert record.ended is not None
    assert forget_dead(store.files) == 0


def test_a_workspace_that_cannot_be_written_to_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "make_folder", refuse)
    with (
        pytest.raises(InputError, match="the disk is read-only; choose a workspace elsewhere"),
        run_record(store.files, what="run"),
    ):
        raise AssertionError("nothing is done there")
    refused = sam_engine("run", "assisted_manual", store.workspace)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert str(store.workspace) in refused.err


def test_those_that_ended_long_ago_are_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_record(store.files, what="old", flow_run="1a"):
        pass
    monkeypatch.setattr(run_records, "_KEPT_S", 0.0)
    with run_record(store.files, what="new"):
        assert [record.what for record, _ in records(store.files)] == ["new"]


def test_progress_reaches_the_record_now_and_then(store: Store) -> None:
    with run_record(store.files, what="run") as live:
        progress = also_told(silent, live)
        for done in range(1, 5):
            progress("shards", done, 4, f"loss {done}")
            ((record, _),) = records(store.files)
            assert record.advance is not None
            assert record.advance.done == (1 if done < 4 else 4), "the first, the last, and every few seconds"


def test_a_killed_process_is_seen_at_once(store: Store) -> None:
    command = [sys.executable, "-c", _HOLDS_ONE, str(store.workspace)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        (at_work,) = sam_engine("status", store.workspace, "--json").result["at_work"]
        assert (at_work["what"], at_work["pid"], at_work["advance"]["done"]) == ("held", process.pid, 3)
        told = sam_engine("status", store.workspace).out
        assert f"held: shards, 3 of 4, loss 0.1 (process {process.pid} since " in told
        process.send_signal(signal.SIGKILL)
        process.wait()
    ((record, alive),) = records(store.files)
    assert (record.flow_run, alive, record.ended) == ("0e", False, None)
    assert sam_engine("status", store.workspace, "--json").result["at_work"] == []
    done = sam_engine("janitor", store.workspace, "--json").result
    assert (done["records"], done["closed"]) == (1, [])
    assert records(store.files) == []


def test_what_killed_writers_left_is_swept_and_nothing_else(store: Store) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, alive = int(ended.stdout), os.getpid()
    models = store.workspace / "models"
    half = models / f".made.{dead}-0123abcd.tmp"
    half.mkdir(parents=True)
    (half / "weights.safetensors").write_bytes(b"half")
    fresh = models / f".fresh.{dead}-0123abcd.tmp"
    fresh.mkdir()
    at_work = store.workspace / "reports" / f".rounds.png.{alive}-0123abcd.tmp"
    at_work.parent.mkdir(exist_ok=True)
    at_work.write_bytes(b"")
    long_ago = time.time() - 3600
    for path in (half / "weights.safetensors", half, at_work):
        os.utime(path, (long_ago, long_ago))
    assert sam_engine("janitor", store.workspace, "--json").result["swept"] == [str(half)]
    assert not half.exists()
    assert fresh.exists(), "it may be of a writer on another machine"
    assert at_work.exists()


def test_an_interruption_in_the_middle_of_a_look_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a library swallows what is raised then."""
    looks: list[bool] = []
    handler = signal.getsignal(signal.SIGINT)

    def look(_: Store) -> dict[str, Any]:
        with suppress(KeyboardInterrupt):
            looks.append(True)
            signal.raise_signal(signal.SIGINT)
        return {}

    monkeypatch.setattr(status, "workspace_status", look)
    monkeypatch.setattr(status, "_as_text", lambda *_, **__: "")
    try:
        with pytest.raises(KeyboardInterrupt):
            status.status(str(store.workspace), watch=True)
        assert len(looks) == 1
    finally:
        signal.signal(signal.SIGINT, handler)


def test_status_goes_on_looking(store: Store) -> None:
    """Where it is no terminal: all once, then a line for what changed."""
    command = [sys.executable, "-m", "flows.cli", "status", str(store.workspace), "--watch"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        for line in watching.stdout:
            if "Models: none of its own yet" in line:
                break
        with run_record(store.files, what="sam-engine run assisted_manual"):
            lines = [watching.stdout.readline() for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait() == 130
    assert [line[9:].strip() for line in lines] == [
        "At work",
        f"sam-engine run assisted_manual: process {os.getpid()} since {lines[1].partition(' since ')[2].strip()}",
    ]
