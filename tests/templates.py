"""Workspaces that are made once in a process and then copied: two dozen tables take longer to make than to copy."""

import shutil
import tempfile
from functools import cache
from itertools import count
from pathlib import Path

from engine.store import Store

_numbers = count()


@cache
def _root() -> "tempfile.TemporaryDirectory[str]":
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="sam-engine-templates-")


def new_template() -> Path:
    """A path at which there is nothing yet and where what is made lies to the end of the process."""
    return Path(_root().name) / str(next(_numbers))


@cache
def _empty() -> Path:
    return Store.create(new_template()).workspace


def new_store(workspace: Path) -> Store:
    """What `Store.create` makes of a folder that does not exist."""
    return Store(shutil.copytree(_empty(), workspace))
