"""How commands over many files tell what they could not take."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import typer

from flows.console import note
from schemas.counted import counted

_SHOWN = 20
BAD_INPUT = 2


def report_rejected(rejected: Sequence[dict[str, Any]], *, listed_in: str) -> None:
    """One line on standard error for each thing rejected (`source`, `reason`), the first twenty of them."""
    for problem in rejected[:_SHOWN]:
        note(f"rejected: {problem['source']}: {problem['reason']}")
    if len(rejected) > _SHOWN:
        note(f"rejected: {len(rejected) - _SHOWN} more; all are listed by: {listed_in}")


def check_something_was_good(good: int, rejected: Sequence[dict[str, Any]]) -> None:
    """End with the status for bad input where all of a batch was bad; some good files make it a success."""
    if rejected and not good:
        raise typer.Exit(BAD_INPUT)


def ignored_line(endings: Counter[str]) -> str:
    """How many files of folders are no pictures, by their endings."""
    kinds = ", ".join(f"{ending} {count}" for ending, count in endings.most_common(5))
    return (
        f"{counted(endings.total(), 'file')} ignored that "
        f"{'is no picture' if endings.total() == 1 else 'are no pictures'} "
        f"({kinds}{', ...' if len(endings) > 5 else ''})"
    )
