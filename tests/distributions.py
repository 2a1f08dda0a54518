"""Distributions for tests: their entry points, as pip would leave them, on the path of this process."""

import importlib
from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    group: str,
    points: Mapping[str, str],
    *,
    code: Path | None = None,
) -> None:
    """Make a distribution `name` 1.0 with these entry points visible for one test.

    points: names with "module:attribute". code: a folder whose modules can be imported then, too.
    """
    root = folder / name
    info = root / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {place}" for point, place in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    monkeypatch.syspath_prepend(str(root))
    if code is not None:
        monkeypatch.syspath_prepend(str(code))
    importlib.invalidate_caches()
