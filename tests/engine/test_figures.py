"""Figures as files."""

import pytest
from matplotlib.figure import Figure

from engine.figures import drawn


@pytest.mark.parametrize(("form", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_equal_figures_give_equal_bytes(form: str, begins: bytes) -> None:
    first, again = (drawn(Figure(figsize=(1, 1)), form) for _ in range(2))
    assert first == again
    assert first.startswith(begins)
