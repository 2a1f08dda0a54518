"""Workspaces that cannot be written to, or that a newer version made: one line, and the documented status."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.rounds import tick
from tests.flows.cli_runner import Finished, sam_engine
from tests.stages.workspaces import SETTINGS, make_workspace

STAGE = "assisted_manual"
ROOT = Path(__file__).parents[2]
COMMANDS: dict[str, tuple[str, ...]] = {
    "ingest": ("ingest", "WORK", "PICTURES"),
    "run": ("run", STAGE, "WORK"),
    "run --until-done": ("run", STAGE, "WORK", "--until-done"),
    "run data_engine": ("run", "data_engine", "WORK"),
    "approve": ("approve", "WORK", "fully_automatic"),
    "release build": ("release", "build", "WORK", "--stage", STAGE, "--no-blur", "--processes", "1"),
}
NOTHING_WRITTEN: dict[str, tuple[str, ...]] = {
    "status": ("status", "WORK"),
    "janitor": ("janitor", "WORK"),
    "vacuum": ("vacuum", "WORK"),
    "schedule show": ("schedule", "show", "WORK"),
}


@pytest.fixture
def work() -> Iterator[Path]:
    """A workspace with masks, in a folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    flow = SETTINGS["flow"] | {"approve": ["fully_automatic"]}
    store = make_workspace(folder, images=2, holdout=0, assisted_manual={"rounds": 1}, flow=flow)
    for _ in range(2):
        tick(store, STAGE)
    yield store.workspace
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def run(command: tuple[str, ...], work: Path) -> Finished:
    return sam_engine(*arguments(command, work))


def arguments(command: tuple[str, ...], work: Path) -> list[str]:
    known = {"WORK": str(work), "PICTURES": str(work.parent / "pictures")}
    return [known.get(part, part) for part in command]


def of_an_ordinary_user() -> list[str]:
    """What lets a command obey permissions where the tests run as root."""
    if os.geteuid():
        return []
    setpriv = shutil.which("setpriv") or pytest.skip("root, and no setpriv")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search"]


def check_refused(done: Finished, *said: str) -> None:
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert (done.status, len(errors)) == (2, 1), done.err
    assert "Traceback" not in done.err
    assert all(each in errors[0] for each in said), errors[0]


def test_a_read_only_workspace_is_refused_and_can_be_looked_at(work: Path) -> None:
    for path in (work, *work.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    commands = [arguments(each, work) for each in (NOTHING_WRITTEN["status"], *COMMANDS.values())]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    done = subprocess.run(
        [*of_an_ordinary_user(), sys.executable, "-m", "tests.flows.commands_in_turn", json.dumps(commands)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, *refused = (Finished(**json.loads(line)) for line in done.stdout.splitlines())
    assert (status.status, status.err) == (0, "")
    assert "2 images in 1 shard\n" in status.out
    for each in refused:
        check_refused(each, str(work), "no permission to write")


@pytest.mark.parametrize("command", [*COMMANDS, *NOTHING_WRITTEN])
def test_a_workspace_of_a_newer_version(command: str, work: Path) -> None:
    (work / "tables" / "format.json").write_text(json.dumps({"format": 99}))
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    check_refused(
        run((COMMANDS | NOTHING_WRITTEN)[command], work),
        str(work),
        "update it, or use the version that made the workspace",
    )
    written = {path for path in work.rglob("*") if path.is_file()} - before.keys()
    assert not [path for path in written if path.parent.name != ".runs"], "nothing was written into it"
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
