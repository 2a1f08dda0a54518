"""Distributions for tests: their entry points, as pip would leave them, on the path of this process."""

import importlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    groups: Mapping[str, Mapping[str, str]],
    *,
    code: Path | None = None,
) -> None:
    """Make a distribution `name` 1.0 with these entry points visible for one test.

    groups: names with "module:attribute", by group. code: a folder whose modules can be imported then, too.
    """
    root = write_distribution(folder, name, groups)
    monkeypatch.syspath_prepend(str(root))
    if code is not None:
        monkeypatch.syspath_prepend(str(code))
    importlib.invalidate_caches()


def write_distribution(folder: Path, name: str, groups: Mapping[str, Mapping[str, str]]) -> Path:
    """Write a distribution `name` 1.0 with these entry points. Returns the folder that has to be on the path."""
    root = folder / name
    info = root / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{point} = {place}" for point, place in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
    return root


def install_example(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `examples/NAME` visible for one test with the entry points of its pyproject.toml, as pip would."""
    code, project = _example(name)
    install(folder, monkeypatch, project["name"], project["entry-points"], code=code)


def path_with_example(name: str, folder: Path) -> str:
    """PYTHONPATH of a process that is to find `examples/NAME` as if pip had installed it."""
    code, project = _example(name)
    root = write_distribution(folder, project["name"], project["entry-points"])
    return os.pathsep.join(map(str, (root, code, code.parents[1])))


def _example(name: str) -> tuple[Path, dict[str, Any]]:
    code = Path(__file__).parents[1] / "examples" / name
    project: dict[str, Any] = tomllib.loads((code / "pyproject.toml").read_text())["project"]
    return code, project
