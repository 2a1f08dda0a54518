"""`sam-engine demo`: everything, once, on pictures that ship with an installed package."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import JsonFlag, emit, progress_bars


def demo(
    workspace: Annotated[Path, typer.Option(help="Where to work; a demo that was stopped goes on there.")] = Path(
        "sam-engine-demo"
    ),
    as_json: JsonFlag = False,
) -> None:
    """Run the whole engine once on pictures that ship: three stages, four retrainings, a release."""
    from flows.demo.demo import as_text, run_demo

    with progress_bars() as progress:
        result = run_demo(workspace, progress)
    emit(result.to_dict(), as_json=as_json, text=None if as_json else as_text(result))
