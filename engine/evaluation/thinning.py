"""Thinning of edge maps to lines one pixel wide, as the boundary benchmark does before it matches pixels.

Parallel thinning with two halves a pass (Guo and Hall, CACM 1989; conditions G1 to G3 of Lam, Lee and Suen, PAMI 1992),
which is what Matlab's `bwmorph(map, 'thin', Inf)` and `skimage.morphology.thin` do.
"""

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
# Bit of each neighbour of a pixel: 0 for the one to the east, then counter-clockwise.
_BITS = np.array([[8, 4, 2], [16, 0, 1], [32, 64, 128]], dtype=np.float32)


def thinned(edges: Mask) -> Mask:
    """An edge map (H, W) with its lines thinned until nothing changes; what lies beyond the picture is no edge."""
    left = edges.astype(np.uint8)
    count = -1
    while count != (count := int(left.sum())):
        for stays in _STAYS:
            left &= cv2.LUT(cv2.filter2D(left, -1, _BITS, borderType=cv2.BORDER_CONSTANT), stays)
    return left.astype(bool)


def _stays(turn: int) -> npt.NDArray[np.uint8]:
    """(256,) 1 for the neighbourhoods whose pixel stays. turn: 0 in the first half of a pass, 4 in the second."""
    codes = np.arange(256)
    on = [(codes >> place & 1).astype(bool) for place in range(8)]
    sides = (0, 2, 4, 6)
    crossings = sum((~on[i] & (on[i + 1] | on[(i + 2) % 8])).astype(int) for i in sides)
    one_way = sum((on[i] | on[i + 1]).astype(int) for i in sides)
    other_way = sum((on[i + 1] | on[(i + 2) % 8]).astype(int) for i in sides)
    few = np.minimum(one_way, other_way)
    held = on[turn] & (on[turn + 1] | on[turn + 2] | ~on[(turn + 7) % 8])
    goes = (crossings == 1) & (few >= 2) & (few <= 3) & ~held
    return (~goes).astype(np.uint8)


_STAYS = (_stays(0), _stays(4))
