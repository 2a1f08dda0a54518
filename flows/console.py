"""What the command line prints: results on standard output, everything else (bars, notes, errors) on standard error."""

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.compiling import tell_of_compiling
from flows.metrics import with_metrics
from stages.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]


def emit(result: dict[str, Any], *, as_json: bool, text: "RenderableType | None" = None) -> None:
    """Print the result of a command: `result` as one JSON object, or `text` for a person to read."""
    if as_json:
        print(json.dumps(_plain(result), ensure_ascii=False, allow_nan=False))
        return
    if text is not None:
        from rich.console import Console

        Console(highlight=False, soft_wrap=not sys.stdout.isatty()).print(text)


def note(text: str) -> None:
    """One line on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Bars on standard error for the time of the `with` block; plain lines now and then where it is no terminal."""
    tell_of_compiling(note)
    if not sys.stderr.isatty():
        yield with_metrics(_Lines())
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        yield with_metrics(_Bars(bars))


class _Bars:
    """One bar for each `what`, made when first heard of."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=total, note=note)
        self._bars.update(self._tasks[what], completed=done, total=total, note=note)


class _Lines:
    """For logs: a line when something begins, when it ends, and every ten seconds in between."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if done < total and now - self._last.get(what, -math.inf) < 10:
            return
        self._last[what] = now
        print(f"{what}: {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)


def _plain(value: Any) -> Any:
    """`value` with what JSON cannot say made plain: NaN becomes null, paths and the like become text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
