"""The deployments of a workspace on a Prefect server: made, looked at and taken away."""

from collections.abc import Mapping
from contextlib import suppress
from http.client import CONFLICT
from typing import Any

from prefect import serve
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_UI_URL

from engine.workspace import Workspace
from flows.deployments import DEPLOYMENTS, TAG, name_of, runner_deployments
from schemas.errors import InputError
from schemas.release import release_name
from stages.planning import parse_stage

_ONLINE = "ONLINE"


def install_schedule(workspace: Workspace, *, cron: Mapping[str, str], pool: str) -> dict[str, Any]:
    """Make the pool, the concurrency limit that engine.yaml names, and all deployments. Returns what `read_schedule`
    does. Raises InputError where the pool is of a kind whose workers start no processes."""
    with get_client(sync_client=True) as client:
        _make_pool(client, pool)
        _make_limit(client, workspace)
    for deployment in runner_deployments(workspace, cron=cron, pool=pool):
        deployment.apply()
    return read_schedule(workspace)


def read_schedule(workspace: Workspace) -> dict[str, Any]:
    """The deployments with their times and triggers, their pool, and what is wrong."""
    after = {planned.flow: planned.after for planned in DEPLOYMENTS}
    with get_client(sync_client=True) as client:
        deployments = _deployments(client, workspace)
        flows = {each.id: client.read_flow(each.flow_id).name for each in deployments}
        pool = next((each.work_pool_name for each in deployments if each.work_pool_name), None)
        problems = _problems(client, workspace, deployments, pool)
    rows = [
        {
            "name": f"{flows[each.id]}/{each.name}",
            "cron": ", ".join(getattr(one.schedule, "cron", "") for one in each.schedules if one.active),
            "after": after.get(flows[each.id], ""),
        }
        for each in deployments
    ]
    order = [planned.flow for planned in DEPLOYMENTS]
    rows.sort(key=lambda row: order.index(row["name"].partition("/")[0]))
    return {"workspace": workspace.full_name, "pool": pool, "deployments": rows, "problems": problems}


def start_run(workspace: Workspace, flow: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Start a run of a deployment now. Raises InputError for an unknown one, or parameters that it cannot have."""
    with get_client(sync_client=True) as client:
        found = {client.read_flow(each.flow_id).name: each for each in _deployments(client, workspace)}
        if flow not in found:
            known = ", ".join(found) or f"none; run: sam-engine schedule install {workspace}"
            raise InputError(f"{workspace}: no deployment {flow!r}; there are {known}")
        unknown = parameters.keys() - found[flow].parameter_openapi_schema["properties"].keys()
        if unknown:
            known = ", ".join(found[flow].parameter_openapi_schema["properties"])
            raise InputError(f"--set {min(unknown)}: {flow} has no such parameter; it has {known}")
        _check_values(flow, parameters)
        try:
            run = client.create_flow_run_from_deployment(found[flow].id, parameters=dict(parameters))
        except PrefectHTTPStatusError as error:
            if error.response.status_code != CONFLICT:
                raise
            told = " ".join(str(error.response.json().get("detail", error)).split())
            raise InputError(f"--set: {flow} cannot have these parameters: {told}") from error
    return {"id": str(run.id), "name": run.name, "url": f"{PREFECT_UI_URL.value() or ''}/runs/flow-run/{run.id}"}


def _check_values(flow: str, parameters: Mapping[str, Any]) -> None:
    """What the server cannot know; kinds of values it checks itself. Raises InputError."""
    name = parameters.get("name")
    if flow == "release" and name and isinstance(name, str):
        release_name(name)
    stages = parameters.get("stages")
    for stage in [parameters.get("stage"), *(stages if isinstance(stages, list) else [])]:
        if isinstance(stage, str):
            parse_stage(stage)


def remove_schedule(workspace: Workspace) -> list[str]:
    """Take the deployments away; the server takes their schedules and automations with them. Returns their names."""
    with get_client(sync_client=True) as client:
        deployments = _deployments(client, workspace)
        for each in deployments:
            client.delete_resource_owned_automations(f"prefect.deployment.{each.id}")
            client.delete_deployment(each.id)
        return [f"{client.read_flow(each.flow_id).name}/{each.name}" for each in deployments]


def serve_schedule(workspace: Workspace, *, cron: Mapping[str, str], limit: int) -> None:
    """Run the deployments in processes of this one until it is stopped; its schedules pause then."""
    with get_client(sync_client=True) as client:
        _make_limit(client, workspace)
    serve(*runner_deployments(workspace, cron=cron, pool=None), limit=limit, print_starting_message=False)


def check_name(what: str, name: str) -> None:
    """Raises InputError for a name that no pool or limit can have."""
    if not name or set(name) & set("/%&><"):
        raise InputError(f"{what} {name!r}: Prefect takes no such name; use letters, digits and hyphens")


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    check_name("--pool", name)
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        return
    if found.type != "process":
        raise InputError(f"--pool {name}: is of type {found.type}; the flows run in processes: name another, or none")


def _make_limit(client: SyncPrefectClient, workspace: Workspace) -> None:
    """One slot; who has more GPUs raises it: prefect gcl update NAME --limit N."""
    name = workspace.settings().flow.concurrency_limit
    if name is not None:
        check_name(f"{workspace.config}: flow.concurrency_limit", name)
        with suppress(ObjectAlreadyExists):
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))


def _deployments(client: SyncPrefectClient, workspace: Workspace) -> list[DeploymentResponse]:
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    found = client.read_deployments(deployment_filter=tagged, limit=200)
    return [each for each in found if each.name == name_of(workspace)]


def _problems(
    client: SyncPrefectClient, workspace: Workspace, deployments: list[DeploymentResponse], pool: str | None
) -> list[str]:
    if not deployments:
        return [f"nothing is scheduled; run: sam-engine schedule install {workspace}"]
    problems = []
    missing = {planned.flow for planned in DEPLOYMENTS} - {client.read_flow(each.flow_id).name for each in deployments}
    if missing:
        problems.append(f"not deployed: {', '.join(sorted(missing))}; run: sam-engine schedule install {workspace}")
    if pool is not None and not any(worker.status == _ONLINE for worker in client.read_workers_for_work_pool(pool)):
        problems.append(
            f"no worker of pool {pool} is there, so nothing runs; start one: sam-engine schedule worker --pool {pool}"
        )
    limit = workspace.settings().flow.concurrency_limit
    if limit is not None:
        try:
            client.read_global_concurrency_limit_by_name(limit)
        except ObjectNotFound:
            problems.append(f"no concurrency limit {limit}; make it: prefect gcl create {limit} --limit 1")
    return problems
