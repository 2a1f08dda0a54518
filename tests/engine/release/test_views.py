"""In what sizes and parts a picture is looked at."""

from itertools import pairwise

import numpy as np
import pytest

from engine.release.views import Looking

LOOKING = Looking(area_px=10_000, most=2.0, least=0.5, overlap_px=40)


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(100, 100, 1.0), (50, 200, 1.0), (40, 40, 2.0), (80, 80, 1.25), (200, 200, 0.5)],
)
def test_a_picture_that_can_be_looked_at_closely_enough_is_looked_at_once(
    height: int, width: int, scale: float
) -> None:
    (view,) = LOOKING.views(np.zeros((height, width, 3), dtype=np.uint8))
    assert (view.left, view.top, view.scale) == (0, 0, scale)
    assert view.pixels.shape == (height * scale, width * scale, 3)


def test_parts_of_a_large_picture_cover_it_and_overlap_by_what_must_lie_whole_in_one() -> None:
    height, width = 430, 610
    whole, *parts = LOOKING.views(np.zeros((height, width, 3), dtype=np.uint8))
    assert whole.scale == pytest.approx((10_000 / (height * width)) ** 0.5)
    assert {part.scale for part in parts} == {0.5}
    for size, starts in ((height, {part.top for part in parts}), (width, {part.left for part in parts})):
        ordered = sorted(starts)
        assert ordered[0] == 0
        assert ordered[-1] == size - 200
        assert all(after - before <= 200 - 40 for before, after in pairwise(ordered))
    assert len(parts) == len({(part.left, part.top) for part in parts}) == 3 * 4


def test_boxes_of_a_view_lie_in_the_picture_where_they_were_seen() -> None:
    pixels = np.zeros((500, 500, 3), dtype=np.uint8)
    pixels[400:440, 300:360] = 255
    seen = []
    for view in LOOKING.views(pixels):
        rows, columns = np.nonzero(view.pixels[..., 0] > 127)
        if len(rows):
            box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
            seen.append(view.in_picture(np.array(box, dtype=np.float32)))
    assert len(seen) >= 2
    np.testing.assert_allclose(seen[0], [[300, 400, 360, 440]], atol=5)  # the whole, at a fifth of its size
    assert any(np.allclose(box, [[300, 400, 360, 440]], atol=2) for box in seen[1:])
