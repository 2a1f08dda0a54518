"""Prefect's own server and the process that started it; tests/e2e/test_stopped_flow.py stops real ones."""

import os
import signal
import subprocess
import sys

import pytest
from prefect.server.api.server import SubprocessASGIServer

from flows import prefect_server


def test_a_server_whose_starter_is_gone_ends_before_it_begins() -> None:
    nobody = str(os.getppid())  # not this process, which starts it
    command = [sys.executable, "-P", prefect_server.__file__, nobody, "0"]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGTERM


def test_prefect_starts_its_server_by_the_method_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a newer Prefect would leave servers behind without a word."""
    monkeypatch.setattr(SubprocessASGIServer, "_run_uvicorn_command", SubprocessASGIServer._run_uvicorn_command)
    prefect_server.tie_servers_to_this_process()
    started: list[list[str]] = []

    def start(command: list[str], **_: object) -> None:
        started.append(command)
        raise OSError("enough")

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(OSError, match="enough"):
        SubprocessASGIServer(port=8123).start(timeout=1)
    assert started == [[sys.executable, "-P", prefect_server.__file__, str(os.getpid()), "8123"]]
