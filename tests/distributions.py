"""Distributions for tests: their entry points, as pip would leave them, on the path of this process."""

import importlib
import tomllib
from collections.abc import Mapping
from pathlib import Path

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
    monkeypatch.syspath_prepend(str(root))
    if code is not None:
        monkeypatch.syspath_prepend(str(code))
    importlib.invalidate_caches()


def install_example(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `examples/NAME` visible for one test with the entry points of its pyproject.toml, as pip would."""
    code = Path(__file__).parents[1] / "examples" / name
    project = tomllib.loads((code / "pyproject.toml").read_text())["project"]
    install(folder, monkeypatch, project["name"], project["entry-points"], code=code)
