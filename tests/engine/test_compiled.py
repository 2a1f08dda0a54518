"""Loops that are compiled once, and again where they or what they use changed."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine.compiled import compiled

HELPER = """
from engine.compiled import compiled

@compiled(with_folder=True)
def times(x):
    return {factor} * x
"""
LOOP = """
from engine.compiled import compiled
from loops.helper import times

@compiled(with_folder=True)
def run(x):
    return times(x) + 1

print(run(4), sum(run.stats.cache_hits.values()))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "loops"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "loop.py").write_text(LOOP)
    (folder / "helper.py").write_text(HELPER.format(factor=2))
    return folder


def run(folder: Path) -> list[int]:
    """What the loop gives for 4 in a process of its own, and whether it was found compiled."""
    code = f"import sys; sys.path.insert(0, {str(folder.parent)!r}); import loops.loop"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_a_loop_is_compiled_once_for_all_processes(folder: Path) -> None:
    assert run(folder) == [9, 0]
    assert run(folder) == [9, 1]


def test_a_loop_is_compiled_again_where_one_that_it_uses_changed(folder: Path) -> None:
    assert run(folder) == [9, 0]
    (folder / "helper.py").write_text(HELPER.format(factor=3))
    assert run(folder) == [13, 0]
    assert run(folder) == [13, 1]


def test_without_a_folder_for_its_cache_a_loop_is_compiled_all_the_same() -> None:
    names: dict[str, object] = {"compiled": compiled}
    exec("@compiled()\ndef double(x): return 2 * x", names)  # no file, hence no folder beside it
    assert names["double"](4) == 8  # type: ignore[operator]
