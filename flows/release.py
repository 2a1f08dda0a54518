"""The release job: build, verify before anybody can see it, report."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine.places import full_name
from engine.processes import MapItems, Processes
from engine.release.build import build_release
from engine.release.report.writing import report_folder, write_release_report
from engine.store import Store
from engine.workspace import Workspace
from flows.allocator import keep_freed_memory
from flows.artifacts import link_to
from flows.asking import ask_for
from flows.deployments import name_of
from flows.engine_flows import engine_flow
from flows.ray_items import RayItems
from flows.stage_runs import current_progress
from flows.telling import told_everywhere
from schemas.config import FlowConfig
from schemas.stages import Stage
from stages.approvals import RELEASED, missing, of_release, require
from stages.planning import parse_stage


@task(name="build", cache_policy=NO_CACHE, persist_result=False)
def build(workspace: str, stages: list[Stage], name: str | None, withheld: bool) -> dict[str, Any]:
    """Build and verify. After a kill it goes on with the tars that are missing; a release of these inputs is not built
    twice."""
    store = Store(workspace)
    made = build_release(
        store,
        stages=stages,
        name=name,
        withheld=withheld,
        verify=True,
        map_tars=tars_of(store.files.settings().flow),
        progress=told_everywhere(current_progress.get(), name_of(Workspace(workspace))),
    )
    manifest = made.manifest
    counts = {"images": manifest.images, "masks": manifest.masks, "tars": len(manifest.tars)}
    return {"path": full_name(made.place), "created": made.created, **counts}


def tars_of(config: FlowConfig) -> MapItems:
    """By what the tars of a release are made: Ray where the settings say so, else processes, one a core."""
    return RayItems(config.ray_actors) if config.runner == "ray" else Processes.a_core_each()


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report(release: str) -> str:
    """Write the report beside those of the workspace."""
    files = write_release_report(
        release, report_folder(release), progress=told_everywhere(current_progress.get(), "release")
    )
    return full_name(files.page)


@engine_flow("release")
def release(workspace: str, stages: list[str] | None = None, name: str | None = None, withheld: bool = False) -> Any:
    """Build a release, verify it before it appears, and report on it. stages: as of `release build`.

    Where nothing changed since the last one, nothing is written but its report. Where there are no masks yet, or a
    person has to approve first, it ends as waiting.
    """
    keep_freed_memory()
    chosen = [parse_stage(stage) for stage in stages or RELEASED]
    store = Store(workspace)
    if (wanted := of_release(store, store.files.settings(), chosen)) is not None:
        if (message := missing(store.files, wanted)) is not None:
            ask_for(store.files, wanted, message)
        require(store.files, wanted)
    built = build(workspace, chosen, name, withheld)
    page = report(built["path"])
    link_to(store.files, "release", built["path"])
    link_to(store.files, "release report", page)
    return {**built, "report": page}
