"""`sam-engine init`: a new workspace."""

from typing import Annotated

import typer

from flows.console import JsonFlag, emit


def init(
    workspace: Annotated[str, typer.Argument(help="Folder to make; it may exist if it holds no workspace yet.")],
    as_json: JsonFlag = False,
) -> None:
    """Make a new workspace with a commented engine.yaml."""
    from engine.places import full_name
    from engine.store import Store
    from engine.workspace import Workspace
    from schemas.config import CONFIG_FILE
    from schemas.errors import InputError

    config = Workspace(workspace).config
    if config.exists() and Store.is_made(Workspace(workspace)):  # else one that was interrupted goes on
        raise InputError(f"{workspace}: is a workspace already ({CONFIG_FILE} exists); nothing was changed")
    Store.create(workspace)
    emit(
        {"workspace": Workspace(workspace).full_name, "config": full_name(config)},
        as_json=as_json,
        text=f"Made {workspace}. Settings: {config}. Next: sam-engine ingest {workspace} SOURCE...",
    )
