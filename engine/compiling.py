"""Telling that loops are compiled, which takes a while once for each installation. Without numba."""

from collections.abc import Callable

_SAID = "compiling the loops that measure masks, once for this installation; that takes a minute or two"
_tell: Callable[[str], None] | None = None
_told = False


def tell_of_compiling(tell: Callable[[str], None] | None) -> None:
    """From now on `tell` is called when the first loop is compiled; None for nobody."""
    global _tell
    _tell = tell


def compiling_begins() -> None:
    """Say so, the first time in this process."""
    global _told
    if _tell is not None and not _told:
        _told = True
        _tell(_SAID)
