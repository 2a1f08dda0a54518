"""Compiled code that was kept goes with the sources of the whole folder."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from numba.core.dispatcher import Dispatcher

from engine.masks import kernel


def loops() -> Iterator[Dispatcher]:
    for path in Path(kernel.__path__[0]).glob("*.py"):
        module = import_module(f"{kernel.__name__}.{path.stem}")
        yield from (value for value in vars(module).values() if isinstance(value, Dispatcher))


def test_all_loops_of_the_kernel_are_kept_with_their_folder() -> None:
    names = {loop.py_func.__name__: loop.py_func.__qualname__ for loop in loops()}
    assert {"survey", "pack", "count", "rasterise", "unpack", "blend"} <= names.keys()
    assert len({kept.removeprefix(name) for name, kept in names.items()}) == 1
    assert names["survey"] != "survey"
