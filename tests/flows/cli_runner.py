"""Runs the command line as the console script does: in this process, or in one that has another PYTHONPATH.

Run as a program: each line of standard input is a JSON list of arguments, each of standard output what came of it.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any
from unittest import mock

from flows.cli import main


@dataclass(frozen=True)
class Finished:
    status: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def sam_engine(*arguments: object) -> Finished:
    """Run `sam-engine` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    argv = ["sam-engine", *(str(argument) for argument in arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code
    assert isinstance(status, int | None)
    return Finished(status or 0, out.getvalue(), err.getvalue())


def one_error_line(err: str) -> str:
    """The one line of standard error that says what was wrong."""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


@contextlib.contextmanager
def sam_engine_with(path: str) -> Iterator[Callable[..., Finished]]:
    """As `sam_engine`, in a process whose PYTHONPATH is `path`; it runs as many commands as are asked for."""
    command = [sys.executable, "-m", __name__]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        asks, answers = process.stdin, process.stdout
        assert asks is not None
        assert answers is not None

        def run(*arguments: object) -> Finished:
            print(json.dumps([str(argument) for argument in arguments]), file=asks, flush=True)
            return Finished(*json.loads(answers.readline()))

        yield run
        asks.close()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(astuple(sam_engine(*json.loads(line)))), flush=True)
