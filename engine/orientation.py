"""EXIF orientation: how the pixels that a photo stores become those that are shown."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_Turn = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
# EXIF 2.3, tag 0x0112; each turns (height, width, ...) arrays.
_UPRIGHT: dict[int, _Turn] = {
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}
TURNED = frozenset({5, 6, 7, 8})  # these swap width and height


def upright(stored: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """A view of a (height, width) or (height, width, channels) array as it is shown; as it is for 1 and others."""
    turn = _UPRIGHT.get(orientation)
    return stored if turn is None else turn(stored)
