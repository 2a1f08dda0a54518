"""`sam-engine run`: move a stage on."""

from typing import Annotated

import typer

from flows.console import JsonFlag, emit, note, progress_bars


def run(
    stage: Annotated[
        str, typer.Argument(help="assisted_manual, semi_automatic, fully_automatic, or data_engine for all in order.")
    ],
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    until_done: Annotated[
        bool, typer.Option("--until-done", help="Run the stage's Prefect flow until nothing is left to do.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """One tick of a stage: look at the workspace, do the next step, stop.

    With --until-done, and for data_engine, the stage's Prefect flow ticks until nothing is left to do.
    """
    from engine.store import Store
    from flows.retraining_process import retraining_of
    from flows.run_records import also_told, run_record
    from flows.running import DATA_ENGINE, run_flow
    from stages.planning import parse_stage
    from stages.rounds import tick

    everything = stage.replace("-", "_") == DATA_ENGINE
    name = DATA_ENGINE if everything else parse_stage(stage)
    store = Store(workspace)
    with progress_bars() as progress:
        if name == DATA_ENGINE or until_done:
            ticks = run_flow(store, name, progress)
            lines = [f"{of_stage}: {each['message']}" for of_stage, results in ticks.items() for each in results]
            result = {"ticks": ticks}
        else:
            store.files.settings()
            with run_record(store.files, what=f"sam-engine run {name}") as record:
                retraining = retraining_of(store.files.settings().flow, note)
                done = tick(store, name, progress=also_told(progress, record), retraining=retraining)
            lines = [f"{name}: {done.message}"]
            result = done.to_dict()
    emit(result, as_json=as_json, text="\n".join(lines))
