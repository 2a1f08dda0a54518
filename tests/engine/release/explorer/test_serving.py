"""The command that serves: from its first line to the signal that ends it, and what it says where it cannot."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from engine.release.explorer.serving import explore
from schemas.errors import InputError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_there_when_it_says_so_and_leaves_nothing(folder: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-c",
        "from flows.cli import main; main()",
        "release",
        "explore",
        str(folder),
        "--port",
        "0",
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    ) as running:
        assert running.stderr is not None
        line = running.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert address is not None, line
        assert httpx.get(f"{address[0]}api/releases").json()["releases"][0]["name"] == "all"
        running.send_signal(number)
        assert running.wait(20) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError) as raised:
        explore([folder], port=taken.getsockname()[1])
    assert re.fullmatch(r"cannot listen on 127\.0\.0\.1, port \d+: .*; choose another host or port", str(raised.value))


def test_a_folder_that_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a release: cannot read manifest.json"):
        explore([tmp_path], port=0)
