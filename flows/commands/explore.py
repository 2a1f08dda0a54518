"""`sam-engine release explore`: looking at releases in a browser."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import note

if TYPE_CHECKING:
    from engine.release.explorer.app import Lineage, SendBack
    from engine.release.explorer.sending import Sent
    from engine.workspace import Workspace


def explore(
    release: Annotated[str, typer.Argument(help="Folder of a release.")],
    beside: Annotated[str | None, typer.Option(help="Another release, to show side by side.")] = None,
    workspace: Annotated[
        str | None,
        typer.Option("--workspace", help="What it was built of; pictures can be sent back to its annotators."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other machines reach it only if it is not loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8090,
) -> None:
    """Look at the pictures and masks of a release in a browser; Ctrl-C stops it.

    Nothing is changed, unless --workspace is given and you send pictures back to annotators.
    """
    from engine.places import place
    from engine.release.explorer.serving import explore as serve
    from engine.workspace import Workspace, workspace_of_release

    folders = [place(one).local_path("a release that is explored") for one in (release, beside) if one is not None]
    found = Workspace(workspace) if workspace else workspace_of_release(release)
    serve(
        folders,
        host=host,
        port=port,
        lineage=_lineage(found),
        send=_send(workspace),
        command=f"sam-engine release explore {release} --workspace {found or 'WORKSPACE'}",
        ready=lambda address: note(f"{release}: look at it at {address}; Ctrl-C stops it"),
    )


def _lineage(workspace: "Workspace | None") -> "Lineage | None":
    """What `sam-engine explain` tells of a mask."""
    if workspace is None:
        return None

    def lineage(mask_id: int) -> dict[str, Any]:
        from engine.store import Store
        from flows.commands.explain import lineage_of_mask

        return lineage_of_mask(Store(workspace), mask_id)

    return lineage


def _send(workspace: str | None) -> "SendBack | None":
    """Only for a workspace that was named: what merely lies beside a release is left as it is."""
    if workspace is None:
        return None
    from engine.store import Store

    store = Store(workspace)

    def send(made: "Mapping[int, Sequence[tuple[str, int]]]") -> "Sent":
        from engine.release.explorer.sending import send_to_annotators
        from schemas.errors import WaitError
        from stages.movers import another_moves, only_mover

        with ExitStack() as movers:
            for stage in sorted({stage for places in made.values() for stage, _ in places}):
                if not movers.enter_context(only_mover(store, stage)):
                    raise WaitError(f"{another_moves(store, stage)}; send them when it has ended")
            return send_to_annotators(store, made)

    return send
