"""Commands that need no model answer without torch, Prefect and the like, sooner than torch alone would be there."""

import gc
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.store import Store
from flows.startup import let_idle_threads_sleep, skip_collection_at_exit
from schemas.config import CONFIG_FILE
from stages.rounds import tick
from tests.stages.workspaces import make_workspace, write_pictures
from tests.templates import new_store

# pandas is missing here: pyarrow imports it, where it is installed, for every array that it makes of Python's values.
HEAVY = ("torch", "prefect", "matplotlib", "scipy", "skimage", "numba", "fastapi", "label_studio_sdk")
_RUN = f"""
import json, sys
from flows.cli import app, main
status = 0
try:
    main()
except SystemExit as end:
    status = end.code or 0
print()
print(json.dumps([status, [name for name in {HEAVY} if name in sys.modules]]))
"""
_ALL_HELP = f"""
import json, sys
import typer
from flows.cli import app
def show(command, name):
    try:
        command.main([*name, "--help"], prog_name="sam-engine", standalone_mode=True)
    except SystemExit as end:
        loaded = [heavy for heavy in {HEAVY} if heavy in sys.modules]
        print("\\n" + json.dumps([" ".join(name), end.code or 0, loaded]))
def leaves(command, name):
    yield name
    for child, of_child in getattr(command, "commands", {{}}).items():
        yield from leaves(of_child, [*name, child])
top = typer.main.get_command(app)
for name in list(leaves(top, [])):
    show(top, name)
"""


@dataclass(frozen=True)
class Ended:
    status: int
    loaded: list[str]
    processor_s: float
    err: str


def processor_s() -> float:
    """Of all processes that this one has started and seen to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*arguments: object, home: Path, **environment: str) -> Ended:
    """A command in a process of its own, from its first import to its end."""
    before = processor_s()
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"SAM_ENGINE_HOME": str(home), "OMP_NUM_THREADS": "1"} | environment,
    )
    return Ended(*json.loads(done.stdout.splitlines()[-1]), processor_s() - before, done.stderr)


def check_that_it_was_quick(ended: Ended) -> None:
    """In under a second of processor time; on a slower machine, in less than torch takes to be imported there."""
    if ended.processor_s >= 1.0:
        before = processor_s()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        assert ended.processor_s < processor_s() - before


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a round that is retrained, and a release of it."""
    from engine.release.build import build_release

    store = make_workspace(tmp_path_factory.mktemp("startup"), images=3)
    for _ in range(3):
        tick(store, "assisted_manual")
    build_release(store, stages=["assisted_manual"], name="one")
    return store.workspace


@pytest.fixture(scope="module")
def label_studio_url() -> Iterator[str]:
    """A server that refuses every token."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_help_of_every_command() -> None:
    done = subprocess.run([sys.executable, "-c", _ALL_HELP], capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert {"", "status", "train", "labeling doctor", "release verify", "evaluate"} <= {name for name, *_ in told}
    assert [one for one in told if one[1:] != [0, []]] == []


@pytest.mark.parametrize(
    ("status", "command"),
    [
        (0, "init NEW"),
        (0, "ingest WORKSPACE PICTURES"),
        (0, "status WORKSPACE"),
        (0, "status WORKSPACE --rejected --json"),
        (0, "explain WORKSPACE MASK"),
        (0, "models list"),
        (0, "models list --workspace WORKSPACE"),
        (0, "release build WORKSPACE --stage assisted_manual --name two"),
        (0, "release verify WORKSPACE/releases/one"),
        (2, "release explore WORKSPACE"),
        (2, "release explore WORKSPACE/releases/one --host nowhere.invalid"),
        (2, "labeling server WORKSPACE --host nowhere.invalid"),
        (1, "labeling sync EMPTY --stage semi_automatic"),
        (1, "labeling gate verification EMPTY"),
        (1, "labeling gate exhaustivity EMPTY"),
        (1, "labeling gate audit EMPTY"),
        (1, "run assisted_manual EMPTY"),
        (1, "run data_engine EMPTY"),
    ],
)
def test_what_needs_no_model(workspace: Path, tmp_path: Path, status: int, command: str) -> None:
    write_pictures(tmp_path / "pictures", images=1, first_seed=50)
    mask = Store(workspace).read_table("assisted_manual").to_pylist()[0]["mask_id"]
    new_store(tmp_path / "empty")
    places = {
        "EMPTY": tmp_path / "empty",
        "WORKSPACE": workspace,
        "NEW": tmp_path / "new",
        "PICTURES": tmp_path / "pictures",
        "MASK": mask,
    }
    for name, place in places.items():
        command = command.replace(name, str(place))
    ended = run(*command.split(), home=tmp_path / "home")
    assert (ended.status, ended.loaded) == (status, []), ended.err
    check_that_it_was_quick(ended)


@pytest.mark.parametrize(("status", "command"), [(2, "setup"), (1, "doctor")])
def test_what_asks_label_studio(tmp_path: Path, label_studio_url: str, status: int, command: str) -> None:
    workspace = new_store(tmp_path / "workspace").workspace
    (workspace / CONFIG_FILE).write_text(f"labeling: {{url: {label_studio_url}}}")
    ended = run("labeling", command, workspace, home=tmp_path / "home", LABEL_STUDIO_API_KEY="wrong")
    assert (ended.status, ended.loaded) == (status, ["label_studio_sdk"]), ended.err
    check_that_it_was_quick(ended)


def test_idle_threads_sleep_unless_the_user_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "9")
    let_idle_threads_sleep()
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "9"
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT")
    let_idle_threads_sleep()
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == "4"


def test_all_that_was_made_is_left_to_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", kept.append)
    skip_collection_at_exit()
    try:
        for each in kept:
            each()
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()
