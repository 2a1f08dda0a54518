"""A study whose numbers are known."""

from collections.abc import Sequence

from engine.study.drawing import Item
from engine.study.folder import Study
from engine.study.ratings import Rating

SOURCES = ("ours", "theirs")


def study(units: int = 4, *, pairs: str = "objects", people: int = 1) -> Study:
    """Of each source a mask of each of so many objects, two on a picture."""
    items = [
        Item(f"{source}-{number}", source, f"p{number // 2}", str(number))
        for number in range(units)
        for source in SOURCES
    ]
    return Study("s", SOURCES, pairs, people, "key", tuple(items))  # type: ignore[arg-type]


def ratings(of: dict[str, Sequence[int | None]], *, annotator: str = "a") -> list[Rating]:
    """By source, of its masks in the order of their objects."""
    return [
        Rating(f"{source}-{number}", annotator, 1, rating, {"object": True, "boundary": rating == 10}, 20.0 + number)
        for source, given in of.items()
        for number, rating in enumerate(given)
    ]
