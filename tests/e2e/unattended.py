"""A Prefect server, workers and deployed runs as an operator has them, in processes that tests may kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.labelstudio.ports import free_port

ROOT = Path(__file__).parents[2]
_SLOW_MACHINE_S = 900.0
# Servers, workers and runs of several processes each, minutes a test: more than CI has room for.
asked_for = pytest.mark.skipif(
    "SAM_ENGINE_UNATTENDED" not in os.environ, reason="takes a quarter of an hour; SAM_ENGINE_UNATTENDED=1 runs it"
)


class Operator:
    """What an operator does at a shell; all state of Prefect lies in `home`."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        # A dead worker is forgotten, and a lease of a dead run expires, in seconds rather than minutes.
        self.environment = kept | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",  # threads of several processes at once would wait for each other
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_LOGGING_LEVEL": "INFO",
        }

    @contextmanager
    def running(self, *command: object) -> Iterator[subprocess.Popen[bytes]]:
        """A process group of its own, killed at the end of the block."""
        with (self.home / f"{'-'.join(map(str, command[:3]))}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                cwd=self.home,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @contextmanager
    def server(self) -> Iterator[subprocess.Popen[bytes]]:
        with self.running("flows.cli", "schedule", "server", "--port", self.port) as server:
            wait_until(self.is_up)
            yield server

    def worker(self) -> Any:
        """With --type it starts, and waits, where the server is not there just now."""
        pool = ("--pool", "sam-data-engine", "--type", "process")
        return self.running("prefect", "worker", "start", *pool, "--limit", 1)

    @contextmanager
    def scheduled(self, workspace: Path) -> Iterator[None]:
        """A workspace with its deployments, for the time of the block."""
        self.sam_engine("schedule", "install", workspace)
        yield
        self.sam_engine("schedule", "remove", workspace)

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def sam_engine(self, *arguments: object, server: bool = True) -> str:
        """What it prints. Raises AssertionError where it fails. server: whether it is told of Prefect's."""
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
        environment = {key: value for key, value in self.environment.items() if server or key != "PREFECT_API_URL"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_SLOW_MACHINE_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def post(self, path: str, **body: Any) -> Any:
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        """A busy server, or its SQLite, refuses now and then; Prefect's own clients ask again, too."""
        end = time.monotonic() + _SLOW_MACHINE_S
        while True:
            with suppress(httpx.TransportError):
                answer = httpx.request(method, f"{self.url}/{path}", timeout=60, **options)
                if answer.status_code < 500:
                    answer.raise_for_status()
                    return answer.json()
            assert time.monotonic() < end, f"{path}: the server does not answer"
            time.sleep(1)

    def start(self, flow: str) -> str:
        """Start a run of a deployment. Returns its id."""
        (found,) = self.post("deployments/filter", flows={"name": {"any_": [flow]}})
        return str(self.post(f"deployments/{found['id']}/create_flow_run", state={"type": "SCHEDULED"})["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"flow_runs/{run_id}")
        return found

    def has_ended(self, run_id: str) -> bool:
        """Whether it needs no process any more; False where the server does not say so."""
        return self.is_up() and self.run(run_id)["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def wait_for(self, run_id: str, *states: str) -> dict[str, Any]:
        """Wait until a run is in a state of one of these names."""
        wait_until(lambda: self.is_up() and self.run(run_id)["state_name"] in states)
        return self.run(run_id)


def wait_until(what: Callable[[], bool], *, at_most_s: float = _SLOW_MACHINE_S) -> None:
    end = time.monotonic() + at_most_s
    while not what():
        assert time.monotonic() < end, f"not within {at_most_s} s"
        time.sleep(1)


def processes_of(run_id: str = "", *, home: Path | None = None) -> list[int]:
    """Processes that workers started for a run; for all runs of the state in `home` where that is named."""
    of_run = f"PREFECT__FLOW_RUN_ID={run_id}".encode()
    of_home = b"" if home is None else f"PREFECT_HOME={home}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            settings = (process / "environ").read_bytes()
            if of_run in settings and of_home in settings:
                found.append(int(process.name))
        except OSError:  # it has ended, or it is another user's
            continue
    return found
