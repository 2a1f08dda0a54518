"""`sam-engine approve`: a person allows what waits for that (`flow.approve` in engine.yaml)."""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from flows.console import JsonFlag, emit

if TYPE_CHECKING:
    from engine.store import Store
    from stages.approvals import Approval


def approve(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    what: Annotated[str, typer.Argument(help="A stage, such as fully_automatic, or release.")],
    stage: Annotated[
        list[str] | None, typer.Option(help="With release: stages of it, may be repeated; default: fully_automatic.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who approves; default: the user of this machine.")] = None,
    remark: Annotated[str, typer.Option("--note", help="Kept beside the approval.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Allow a stage to begin with the model as it is now, or a release of the masks as they are now.

    What changes later has to be approved anew. Runs that are suspended in Prefect and ask for it go on, where
    PREFECT_API_URL names their server.
    """
    import os

    from engine.store import Store
    from stages.approvals import approve as allow

    store = Store(workspace)
    wanted = _wanted(store, what, stage or [])
    who = by or getpass.getuser()
    fresh = allow(store.files, wanted, by=who, note=remark)
    resumed = 0
    if "PREFECT_API_URL" in os.environ:
        from flows.asking import resume_answered
        from flows.prefect_settings import prepare_prefect, server_errors
        from schemas.errors import WaitError

        prepare_prefect(store.files.root.on_disk())
        try:
            with server_errors():
                resumed = resume_answered(store.files, wanted, by=who, note=remark)
        except WaitError as error:
            said = f"{wanted.what} is approved; the janitor lets suspended runs go on once the server is there: {error}"
            raise WaitError(said) from error
    text = f"{wanted.what}: approved by {who}" if fresh else f"{wanted.what}: was approved already"
    result = {"what": wanted.what, "subject": wanted.subject, "approved": fresh, "resumed": resumed}
    emit(result, as_json=as_json, text=text + (f"; {go_on(resumed)}" if resumed else ""))


def go_on(runs: int) -> str:
    """Of runs that were suspended."""
    return f"{runs} suspended run{' goes' if runs == 1 else 's go'} on"


def _wanted(store: "Store", what: str, released: list[str]) -> "Approval":
    """Raises InputError where nothing of that name has to be approved."""
    from schemas.config import APPROVE_RELEASE
    from schemas.errors import InputError
    from stages.approvals import RELEASED, of_release, of_stage
    from stages.planning import model_for, parse_stage

    config = store.files.settings()
    if what == APPROVE_RELEASE:
        wanted = of_release(store, config, [parse_stage(one) for one in released or RELEASED])
    else:
        stage = parse_stage(what)
        wanted = of_stage(config, stage, model_for(config, stage, store.rounds()))
    if wanted is None:
        asked = ", ".join(config.flow.approve) or "nothing"
        raise InputError(f"{store.files.config}: flow.approve asks for {asked}, not for {what}; name it there")
    return wanted
