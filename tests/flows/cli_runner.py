"""Runs the command line in this process, as the console script does."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass
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
