"""The page on a release, written anew."""

from typing import Any

from engine.places import full_name
from engine.workspace import Workspace
from flows.engine_flows import engine_flow
from flows.release import report as write_report
from schemas.errors import InputError, WaitError


@engine_flow("report")
def report(workspace: str, release: str | None = None) -> dict[str, Any]:
    """Write the report of a release of the workspace; the last in the order of the alphabet if none is named."""
    releases = {found.name: found for found in Workspace(workspace).releases.find("[!.]*")}
    if not releases:
        raise WaitError(f"{workspace}: there is no release to report on; run: sam-engine release build {workspace}")
    if release is not None and release not in releases:
        raise InputError(f"{workspace}: no release {release!r}; there are {', '.join(releases)}")
    chosen = releases[release] if release else list(releases.values())[-1]
    return {"release": chosen.name, "report": write_report(full_name(chosen))}
