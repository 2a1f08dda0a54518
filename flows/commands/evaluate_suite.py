"""`sam-engine evaluate suite`: many data sets, models and baselines in one run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note, progress_bars
from flows.options import DeviceName
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.evaluation.suite import SuiteResult
    from engine.evaluation.suite_report import Answers
    from engine.places import Place
    from schemas.suite import Suite


def suite(
    file: Annotated[Path, typer.Argument(help="YAML: sets, models, baselines, and the output folder.")],
    workspace: Annotated[str | None, typer.Option("--workspace", help="Also look for models there.")] = None,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Measure models and baselines on many data sets (SAM paper, section 7.1): by clicks and from boxes.

    The output folder gets suite.md and suite.json with mIoU by set and as the mean over sets, 95 % bootstrap intervals
    and paired differences between the first model and each other; deltas.png and clicks.png, as figure 9 of the paper.
    What was measured is kept in results/ there: the same command goes on where it was stopped, and a set or a model
    that is added to the file is measured alone. A set that cannot be measured is named, and the exit status is 1.
    """
    from engine.evaluation.peers import suite_peers
    from engine.evaluation.suite import run_suite
    from engine.evaluation.suite_report import suite_answers, suite_lines, suite_values
    from engine.places import place
    from engine.workspace import roots_of
    from model.devices import device_of
    from schemas.errors import InputError
    from schemas.suite import parse_suite

    try:
        content = place(file).read()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    asked = parse_suite(content, file=file)
    folder = place(asked.output)
    peers = suite_peers(asked, roots_of(workspace), device=device_of(device))
    with progress_bars() as progress:
        result = run_suite(asked, peers, folder, progress=progress, tell=note)
    values: dict[str, Any] = {"output": str(folder), "sets": {}, "left_out": result.left_out}
    text: Any = None
    if result.sets:
        answers = suite_answers(asked, result)
        values |= suite_values(asked, result, answers)
        _write(folder, asked, result, answers, values)
        text = _shown(result, answers, [*suite_lines(asked, result), f"Written to {folder}"])
    emit(values, as_json=as_json, text=None if as_json else text)
    if result.left_out:
        note(
            f"error: {len(result.left_out)} of {counted(len(asked.sets), 'set')} left out: {', '.join(result.left_out)}"
        )
        raise typer.Exit(1)


def _write(
    folder: "Place", asked: "Suite", result: "SuiteResult", answers: "list[Answers]", values: dict[str, Any]
) -> None:
    import json

    from engine.evaluation.suite_plots import clicks_figure, deltas_figure
    from engine.evaluation.suite_report import suite_markdown
    from engine.figures import drawn

    deltas = deltas_figure(result, answers)
    if deltas is None:
        (folder / "deltas.png").remove()
    else:
        (folder / "deltas.png").write(drawn(deltas))
    (folder / "clicks.png").write(drawn(clicks_figure(result, answers)))
    (folder / "suite.md").write(suite_markdown(asked, result, answers).encode())
    (folder / "suite.json").write((json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def _shown(result: "SuiteResult", answers: "list[Answers]", lines: list[str]) -> Any:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    from engine.evaluation.suite_report import mean_table

    columns, rows = mean_table(result, answers)
    table = Table(*(escape(column) for column in columns))
    for row in rows:
        table.add_row(*row)
    return Group(table, *(escape(line) for line in lines))
