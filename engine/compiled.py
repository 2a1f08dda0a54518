"""Loops that numba compiles. Import it only where such loops are used: numba takes a moment."""

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import event

from engine.compiling import compiling_begins

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*, with_folder: bool = False, **options: Any) -> Callable[[Function], Function]:
    """numba.njit, kept on disk where a folder can be written: the second process starts fast.

    with_folder: the function uses others in files beside its own. What numba keeps it finds by the name of a function
    and looks for changes in its file alone, so the name then tells what all files of the folder hold.
    """

    def decorate(function: Function) -> Function:
        if with_folder:
            function.__qualname__ += f".{_digest(Path(function.__code__.co_filename).parent)}"
        try:
            compiled: Function = numba.njit(cache=True, nogil=True, _nrt=False, **options)(function)
        except RuntimeError:  # no folder for the cache can be written
            compiled = numba.njit(nogil=True, _nrt=False, **options)(function)
        return compiled

    return decorate


class _Compiling(event.Listener):
    """Hears of what is compiled; what is read from disk is not."""

    def on_start(self, event: Any) -> None:
        compiling_begins()

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Compiling())


@lru_cache
def _digest(folder: Path) -> str:
    """Of all modules of a folder."""
    sources = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
    return sha256(b"".join(sha256(source).digest() for source in sources)).hexdigest()[:16]
