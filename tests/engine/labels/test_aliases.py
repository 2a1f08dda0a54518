"""Which image an annotation means that does not give its id."""

from collections import Counter
from typing import Any

import pytest

from engine.labels.aliases import Aliases

IMAGES: list[Any] = [
    {"id": 7, "file_name": "in/0012.png"},
    {"id": 12, "file_name": "b.png"},
    {"id": "00000139", "file_name": "c.png"},
    {"id": 3, "file_name": "d.png"},
    {"id": 4, "file_name": "other/d.png"},
    {"file_name": "e.png"},
    "no image",
]


@pytest.mark.parametrize(
    ("image_id", "meant"),
    [
        ("b.png", 12),
        ("b", 12),
        ("in/0012.png", 7),
        ("0012.png", 7),
        (139, "00000139"),
        ("000139", "00000139"),
        ("00000007", 7),
        ("other/d.png", 4),
    ],
)
def test_the_one_image_that_is_meant(image_id: int | str, meant: int | str) -> None:
    mended = Counter[str]()
    assert Aliases(IMAGES).meant(image_id, mended) == meant
    assert sum(mended.values()) == 1


@pytest.mark.parametrize("image_id", ["0012", "d", "d.png", "e.png", 99, "", "9" * 5000, "\u0663"])
def test_none_or_several_are_none(image_id: int | str) -> None:
    mended = Counter[str]()
    assert Aliases(IMAGES).meant(image_id, mended) == image_id
    assert not mended
