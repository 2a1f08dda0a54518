"""The real model backend, `sam-engine labeling serve`, in a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.labelstudio.ports import free_port

_START_TIMEOUT_S = 120


@contextmanager
def running_backend(workspace: Path, *, port: int | None = None) -> Iterator[str]:
    """Its address, once it answers."""
    port = port or free_port()
    command = [sys.executable, "-m", "flows.cli", "labeling", "serve", str(workspace), "--port", str(port)]
    with subprocess.Popen(command) as process:
        try:
            _wait(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the backend ended by itself"
        try:
            httpx.get(f"{url}/health", timeout=5, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"{url} does not answer")
