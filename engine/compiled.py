"""Loops that numba compiles. Import it only where such loops are used: numba takes a moment."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """numba.njit, kept on disk where a folder can be written: the second process starts fast."""

    def decorate(function: Function) -> Function:
        try:
            compiled: Function = numba.njit(cache=True, nogil=True, _nrt=False, **options)(function)
        except RuntimeError:  # no folder for the cache can be written
            compiled = numba.njit(nogil=True, _nrt=False, **options)(function)
        return compiled

    return decorate
