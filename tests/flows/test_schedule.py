"""`sam-engine schedule` on a real Prefect server: what is made there, what is wrong with it, and that it goes again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from engine.store import Store
from engine.workspace import Workspace
from flows.deployments import DEPLOYMENTS, name_of
from tests.flows.cli_runner import Finished, sam_engine
from tests.stages.workspaces import make_workspace

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    return make_workspace(tmp_path, images=2, holdout=0, flow={"concurrency_limit": "gpu", "retries": 0})


def automations(workspace: Workspace) -> list[Any]:
    async def read() -> list[Any]:
        async with get_client() as client:
            return await client.read_automations()

    return [each for each in asyncio.run(read()) if name_of(workspace) in each.name]


def set_limit(store: Store, name: str) -> None:
    config = yaml.safe_load(store.files.config.text())
    store.files.config.write(yaml.safe_dump(config | {"flow": config["flow"] | {"concurrency_limit": name}}).encode())


def schedule(*arguments: object) -> Finished:
    return sam_engine("schedule", *arguments)


def test_a_workspace_is_scheduled_changed_shown_and_taken_away(store: Store) -> None:
    nothing = schedule("show", store.workspace, "--json").result
    assert nothing["deployments"] == []
    assert "run: sam-engine schedule install" in nothing["problems"][0]

    made = schedule("install", store.workspace, "--json").result
    assert [each["name"].partition("/")[0] for each in made["deployments"]] == [each.flow for each in DEPLOYMENTS]
    assert {each["name"].partition("/")[0]: each["cron"] for each in made["deployments"] if each["cron"]} == {
        planned.flow: planned.cron for planned in DEPLOYMENTS if planned.cron
    }
    assert made["problems"] == [
        "no worker of pool sam-data-engine is there, so nothing runs; start one: "
        "sam-engine schedule worker --pool sam-data-engine"
    ]
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name("gpu").limit == 1
        of_release = (each for each in client.read_deployments() if each.entrypoint == "flows.release.release")
        (release,) = (each for each in of_release if each.parameters["workspace"] == str(store.workspace))
        assert release.global_concurrency_limit.limit == 1
        assert release.parameters == {"workspace": str(store.workspace)}
        assert release.enforce_parameter_schema
        assert release.job_variables == {"env": {"PREFECT_CLIENT_RETRY_EXTRA_CODES": "500"}}

    started = schedule("start", store.workspace, "release", "--set", "name=first", "--json").result
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(started["id"])
        assert run.parameters == {"workspace": str(store.workspace), "name": "first"}
        assert run.state.is_scheduled()
    for wrong, said in (
        (("start", store.workspace, "lunch"), "no deployment 'lunch'; there are "),
        (("start", store.workspace, "release", "--set", "withheld=perhaps"), "'perhaps' is not of type 'boolean'"),
        (("start", store.workspace, "release", "--set", "stagez=1"), "release has no such parameter; it has workspace"),
        (("start", store.workspace, "release", "--set", "name=../x"), "release name '../x': use letters, digits, "),
        (("start", store.workspace, "release", "--set", "stages=[lunch]"), "unknown stage 'lunch'; choose one of "),
        (("start", store.workspace, "retrain", "--set", "stage=lunch"), "unknown stage 'lunch'; choose one of "),
    ):
        refused = schedule(*wrong)
        assert (refused.status, refused.err.count("\n")) == (2, 1), refused.err
        assert said in refused.err

    changed = schedule("install", store.workspace, "--cron", "release=0 4 * * 0", "--cron", "gates=", "--json").result
    crons = {each["name"].partition("/")[0]: each["cron"] for each in changed["deployments"]}
    assert (crons["release"], crons["gates"]) == ("0 4 * * 0", "")
    assert len(changed["deployments"]) == len(DEPLOYMENTS)
    triggers = [planned for planned in DEPLOYMENTS if planned.after]
    assert len(automations(store.files)) == len(triggers), "made again, not twice"

    assert len(schedule("remove", store.workspace, "--json").result["removed"]) == len(DEPLOYMENTS)
    assert schedule("show", store.workspace, "--json").result["deployments"] == []
    assert automations(store.files) == []


def test_what_is_wrong_is_said_in_one_line(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = schedule("install", store.workspace, "--cron", "lunch=0 12 * * *")
    assert (unknown.status, unknown.err.count("\n")) == (2, 1)
    assert "no such deployment; there are data-engine" in unknown.err
    assert "is no cron expression" in schedule("install", store.workspace, "--cron", "release=at noon").err
    assert schedule("install", tmp_path / "nowhere").status == 2
    for command in (("install", store.workspace), ("worker",)):
        named = schedule(*command, "--pool", "a/b")
        assert (named.status, named.err.count("\n")) == (2, 1)
        assert "--pool 'a/b': Prefect takes no such name" in named.err
    set_limit(store, "a%b")
    assert (
        "engine.yaml: flow.concurrency_limit 'a%b': Prefect takes no such name"
        in schedule("install", store.workspace).err
    )
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert "names no Prefect server" in schedule("show", store.workspace).err


def test_prefect_yaml_has_the_same_deployments() -> None:
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [each["name"] for each in written] == [planned.flow for planned in DEPLOYMENTS]
    for each, planned in zip(written, DEPLOYMENTS, strict=True):
        assert each["entrypoint"] == planned.entrypoint
        assert [one["cron"] for one in each.get("schedules", [])] == ([planned.cron] if planned.cron else [])
        assert each["parameters"] == {"workspace": "workspace", **planned.parameters}
        expected = [{planned.after}] if planned.after else []
        assert [set(one["expect"]) for one in each.get("triggers", [])] == expected
        assert each.get("concurrency_limit") == planned.at_once
