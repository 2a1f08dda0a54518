"""`sam-engine ablate`: what stages, data, encoders and the generator's grid are worth, by trainings of each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note, progress_bars
from schemas.counted import counted

if TYPE_CHECKING:
    from stages.ablation import AblationRun


def ablate(
    workspace: Annotated[str, typer.Argument(help="The workspace whose masks are learned from.")],
    file: Annotated[Path, typer.Argument(help="YAML: sets to measure on, the output folder, and what to compare.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be trained, and what is there already.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps; default: the workspace's own.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train models on parts of a workspace's masks and measure them on the same suite (SAM paper, figure 13).

    Curves of stages (manual, with semi-automatic, with automatic masks, these oversampled, automatic ones alone), of
    shares of the pictures, of image encoders, and of the points a side of the generator. The output folder gets
    ablation.md, ablation.json and ablation.png with 95 % intervals and paired changes from point to point. Models are
    kept in models/ there and scores in results/: the same command goes on where it was stopped, and a curve that is
    added to the file is trained alone. A set that cannot be measured is named, and the exit status is 1.
    """
    from engine.places import place
    from engine.store import Store
    from model.devices import device_of
    from schemas.ablation import parse_ablation
    from schemas.errors import InputError
    from stages.ablation import AblationRun

    if device is not None:
        device_of(device)
    try:
        content = place(file).read()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    asked = parse_ablation(content, file=file)
    with progress_bars() as progress:
        run = AblationRun(Store(workspace), asked, device=device, progress=progress)
        done = run.done()
        if dry_run:
            emit(_plan(run, done), as_json=as_json, text=None if as_json else _plan_table(run, done))
            return
        note(f"{counted(len(done), 'training')} of {counted(run.trainer.steps, 'step')}, {sum(done)} of them done")
        for number in range(len(done)):
            run.train(number)
        result = run.measure(tell=note)
    values = run.report(result)
    emit(values, as_json=as_json, text=f"Written to {place(asked.output)}: ablation.md, ablation.json, ablation.png")
    if result.left_out:
        note(
            f"error: {len(result.left_out)} of {counted(len(asked.sets), 'set')} left out: {', '.join(result.left_out)}"
        )
        raise typer.Exit(1)


def _plan(run: "AblationRun", done: list[bool]) -> dict[str, Any]:
    known = dict(zip(run.trainings, done, strict=True))
    return {
        "trainings": len(done),
        "done": sum(done),
        "steps": run.trainer.steps,
        "experiments": {
            each.name: [
                {"point": variant.label, "trainings": len(variant.trainings)}
                | {"done": sum(known[training] for training in variant.trainings)}
                for variant in each.variants
            ]
            for each in run.experiments
        },
    }


def _plan_table(run: "AblationRun", done: list[bool]) -> Any:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    plan = _plan(run, done)
    table = Table("Curve", "Point", "Trainings", "Done")
    for name, points in plan["experiments"].items():
        for point in points:
            table.add_row(name, escape(point["point"]), str(point["trainings"]), str(point["done"]))
    line = (
        f"{counted(plan['trainings'], 'different training')} of "
        f"{counted(plan['steps'], 'step')}, {plan['done']} of them done"
    )
    return Group(table, line)
