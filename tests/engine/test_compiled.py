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


def in_process(folder: Path, *, before: str = "") -> str:
    """What a process of its own prints that runs the loop. before: code that runs first."""
    code = f"import sys; sys.path.insert(0, {str(folder.parent)!r})\n{before}\nimport loops.loop"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def run(folder: Path) -> list[int]:
    """What the loop gives for 4, and whether it was found compiled."""
    return [int(word) for word in in_process(folder).split()]


def test_a_loop_is_compiled_once_for_all_processes(folder: Path) -> None:
    assert run(folder) == [9, 0]
    assert run(folder) == [9, 1]


def test_that_loops_are_compiled_is_told_once_and_not_where_they_are_found(folder: Path) -> None:
    telling = "from engine.compiling import tell_of_compiling; tell_of_compiling(print)"
    first = in_process(folder, before=telling)
    assert first.startswith("compiling the loops that measure masks, once for this installation")
    assert first.count("compiling") == 1, "though two loops were compiled"
    assert in_process(folder, before=telling) == "9 1\n"


def test_a_loop_is_compiled_again_where_one_that_it_uses_changed(folder: Path) -> None:
    assert run(folder) == [9, 0]
    (folder / "helper.py").write_text(HELPER.format(factor=3))
    assert run(folder) == [13, 0]
    assert run(folder) == [13, 1]


def test_without_a_folder_for_its_cache_a_loop_is_compiled_all_the_same() -> None:
    names: dict[str, object] = {"compiled": compiled}
    exec("@compiled()\ndef double(x): return 2 * x", names)  # no file, hence no folder beside it
    assert names["double"](4) == 8  # type: ignore[operator]
