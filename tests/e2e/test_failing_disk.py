"""Every write, sync, rename and link of a small run fails once: one line says what and where, and the run repeated ends
in the same tables."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.failing_disk import COMMANDS
from tests.e2e.test_killed_flow import ROOT, environment

# 0 for all of them, an hour.
FAULTS = int(os.environ.get("SAM_ENGINE_FAULTS", "12"))
SEED = int(os.environ.get("SAM_ENGINE_FAULT_SEED", "0"))
pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(0 if FAULTS != 12 else 1200),
    pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="needs a C compiler, on Linux"),
]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("disk")
    library = folder / "failing_disk.so"
    source = Path(__file__).parent / "failing_disk.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.failing_disk", folder, library, str(SEED), str(FAULTS)],
        cwd=ROOT,
        env=environment() | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "SAM_ENGINE_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counted, *found = map(json.loads, done.stdout.splitlines())
    assert min(counted["calls"]) > 0
    assert len(found) == min(FAULTS or sum(counted["calls"]), sum(counted["calls"]))
    return found


def title(fault: dict[str, Any]) -> str:
    command = " ".join(COMMANDS[fault["command"]])
    return f"{command}, call {fault['at']}, {fault['call']} of {fault['path']}, {fault['error']}: {fault['said']}"


def test_one_line_says_what_and_where(faults: list[dict[str, Any]]) -> None:
    for fault in faults:
        assert "Traceback" not in fault["said"], title(fault)
        # A thread of the library beneath Delta's may say that it has nothing to write to any more.
        panics = [line for line in fault["said"].splitlines() if "panicked at" in line and "/object_store-" not in line]
        assert panics == [], title(fault)
        if fault["status"] == 0:  # of what is not needed: a cache, a log
            continue
        assert fault["status"] in (1, 2), title(fault)
        (line,) = (each for each in fault["said"].splitlines() if each.startswith("error: "))
        assert "/now/w" in line, title(fault)
        assert "run the same command again" in line, title(fault)


def test_the_run_repeated_ends_in_the_same_tables(faults: list[dict[str, Any]]) -> None:
    for fault in faults:
        there_already = fault["command"] == 0 and "is a workspace already" in fault["again"]["said"]
        assert fault["again"]["status"] == 0 or there_already, title(fault) + fault["again"]["said"]
        assert fault["left"] == "equal", title(fault)
        assert fault["unfinished"] == [], title(fault)
