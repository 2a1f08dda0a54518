"""What runs when: the deployments of a workspace, the same as in prefect.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.keys import content_key
from engine.workspace import Workspace
from flows.events import MODEL_REGISTERED, ROUND_COMPLETE, STAGE_FINISHED, STAGE_LABEL, resource_of
from flows.prefect_settings import OF_CLIENTS

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

TAG = "sam-engine"


@dataclass(frozen=True)
class Planned:
    """A flow of a module of `flows`, and when it runs. cron: in UTC, "" for when somebody asks. after: an event that
    starts it, of that stage if one is named. at_once: runs of it, None for any. parameters: besides the workspace."""

    flow: str
    module: str
    cron: str = ""
    after: str = ""
    at_once: int | None = 1
    of_stage: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entrypoint(self) -> str:
        return f"flows/{self.module}.py:{self.flow.replace('-', '_')}"


DEPLOYMENTS = (
    Planned("data-engine", "data_engine", after=MODEL_REGISTERED),
    Planned("assisted-manual", "assisted_manual"),
    Planned("semi-automatic", "semi_automatic"),
    Planned("fully-automatic", "fully_automatic", cron="0 2 * * *"),  # new images get masks every night
    Planned("annotation-sync", "people", cron="*/10 * * * *"),
    Planned("retrain", "retrain", cron="30 * * * *", after=ROUND_COMPLETE),  # an event may be lost
    Planned("gates", "people", cron="5 * * * *"),
    Planned("audit", "people"),
    Planned("detector", "detector", parameters={"coco": []}),
    Planned("ablation", "ablation", parameters={"file": ""}),
    Planned("release", "release", after=STAGE_FINISHED, of_stage="fully_automatic"),
    Planned("report", "report"),
    Planned("janitor", "janitor", cron="*/5 * * * *", at_once=None),  # one that was killed must not hold up the next
)


def name_of(workspace: Workspace) -> str:
    """What a workspace is called on a server, apart from others in folders of that name: its deployments, triggers and
    artifacts."""
    return f"{workspace.name}-{content_key(workspace.full_name)[:6]}"


def crons(changed: Mapping[str, str]) -> dict[str, str]:
    """When each deployment runs, with some times changed; "" never. Raises InputError for an unknown one or no cron."""
    from schemas.errors import InputError

    found = {planned.flow: planned.cron for planned in DEPLOYMENTS}
    for name, cron in changed.items():
        if name not in found:
            raise InputError(f"--cron {name}: no such deployment; there are {', '.join(found)}")
        if cron and not _is_cron(cron):
            raise InputError(
                f"--cron {name}: {cron!r} is no cron expression; for example '0 2 * * *', every night at two"
            )
        found[name] = cron
    return found


def runner_deployments(workspace: Workspace, *, cron: Mapping[str, str], pool: str | None) -> "list[RunnerDeployment]":
    """Of each flow one, with its schedule and triggers. pool: of the workers that run them; None for this process."""
    from prefect.flows import EntrypointType

    return [
        _flow(planned).to_deployment(
            name_of(workspace),
            cron=cron[planned.flow] or None,
            parameters={"workspace": workspace.full_name, **planned.parameters},
            concurrency_limit=planned.at_once,
            tags=[TAG],
            triggers=[_trigger(workspace, planned)] if planned.after else [],
            work_pool_name=pool,
            job_variables={"env": OF_CLIENTS} if pool else None,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for planned in DEPLOYMENTS
    ]


def _flow(planned: Planned) -> Any:
    return getattr(import_module(f"flows.{planned.module}"), planned.flow.replace("-", "_"))


def _trigger(workspace: Workspace, planned: Planned) -> Any:
    from prefect.events import DeploymentEventTrigger

    of_stage = {STAGE_LABEL: planned.of_stage} if planned.of_stage else {}
    return DeploymentEventTrigger(
        name=f"{TAG} {name_of(workspace)}: {planned.after.removeprefix('sam-engine.')} starts {planned.flow}",
        enabled=True,
        match={"prefect.resource.id": resource_of(workspace)} | of_stage,
        expect={planned.after},
        parameters={"workspace": workspace.full_name, **planned.parameters},
    )


def _is_cron(text: str) -> bool:
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        CronSchedule(cron=text)
    except ValidationError:
        return False
    return True
