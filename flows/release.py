"""The release job: build, verify before anybody can see it, report."""

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from engine.places import full_name
from engine.release.build import build_release
from engine.release.report.writing import report_folder, write_release_report
from engine.store import Store
from flows.allocator import keep_freed_memory
from flows.stage_runs import current_progress
from stages.planning import parse_stage


@task(name="build", cache_policy=NO_CACHE, persist_result=False)
def build(workspace: str, stages: list[str], name: str | None, withheld: bool) -> dict[str, Any]:
    """Build and verify. After a kill it goes on behind the last tar; a release of these inputs is not built twice."""
    made = build_release(
        Store(workspace),
        stages=[parse_stage(stage) for stage in stages],
        name=name,
        withheld=withheld,
        verify=True,
        progress=current_progress.get(),
    )
    manifest = made.manifest
    counts = {"images": manifest.images, "masks": manifest.masks, "tars": len(manifest.tars)}
    return {"path": full_name(made.place), "created": made.created, **counts}


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report(release: str) -> str:
    """Write the report beside those of the workspace."""
    files = write_release_report(release, report_folder(release), progress=current_progress.get())
    return full_name(files.page)


@flow(name="release")
def release(
    workspace: str, stages: list[str] | None = None, name: str | None = None, withheld: bool = False
) -> dict[str, Any]:
    """Build a release, verify it before it appears, and report on it. stages: as of `release build`.

    Where nothing changed since the last one, nothing is written but its report. Raises WaitError where there are no
    masks yet.
    """
    keep_freed_memory()
    built = build(workspace, stages or ["fully_automatic"], name, withheld)
    return {**built, "report": report(built["path"])}
