"""What pydantic finds wrong, for errors of one line; its own text is many."""

from typing import NamedTuple

from pydantic import ValidationError


class Problem(NamedTuple):
    """key: of the value, with dots between sections, "" for the whole. message: what is wrong, in pydantic's words.

    unknown: there is no such key.
    """

    key: str
    message: str
    found: object
    unknown: bool


def first_problem(error: ValidationError) -> Problem:
    """The first of what was found; before a key that is missing one that is unknown: it misspelt."""
    found = error.errors()
    first = found[0]
    if first["type"] == "missing":
        first = next((each for each in found if each["type"] == "extra_forbidden"), first)
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return Problem(key, message, first["input"], first["type"] == "extra_forbidden")
