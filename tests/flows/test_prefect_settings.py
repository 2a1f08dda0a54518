"""Where Prefect keeps its state, and the deployments."""

import importlib
import os
from pathlib import Path

import pytest
import yaml

from flows.prefect_settings import prepare_prefect
from tests.flows.cli_runner import sam_engine_with
from tests.stages.workspaces import SETTINGS, make_workspace

ROOT = Path(__file__).parents[2]
VARIABLES = (
    "PREFECT_HOME",
    "PREFECT_API_URL",
    "PREFECT_LOGGING_LEVEL",
    "PREFECT_SERVER_ANALYTICS_ENABLED",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES",
    "DO_NOT_TRACK",
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without Prefect's settings, put back after the test."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_state_lies_under_the_workspace_and_nothing_is_sent(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prepare_prefect(tmp_path)
    assert os.environ["PREFECT_HOME"] == str(tmp_path / ".prefect")
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_a_server_that_the_user_names_is_used(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    prepare_prefect(tmp_path)
    assert "PREFECT_HOME" not in os.environ
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_what_the_user_set_stays(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("PREFECT_HOME", str(tmp_path / "mine"))
    environment.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    prepare_prefect(tmp_path)
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "mine")
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"


def test_leases_survive_a_restart_of_the_server(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prepare_prefect(tmp_path)
    module = importlib.import_module(os.environ["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"])
    assert module.ConcurrencyLeaseStorage.__doc__ is not None
    assert "on disk" in module.ConcurrencyLeaseStorage.__doc__
    environment.setenv("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", "another.module")
    prepare_prefect(tmp_path)
    assert os.environ["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] == "another.module"


def test_every_deployment_names_a_flow_that_takes_a_workspace() -> None:
    from prefect import Flow

    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        path, _, function = deployment["entrypoint"].partition(":")
        found = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
        assert isinstance(found, Flow)
        assert found.name == deployment["name"]
        assert set(deployment["parameters"]) <= set(found.parameters.properties)
        assert found.parameters.required[0] == "workspace"
        assert set(found.parameters.required) <= set(deployment["parameters"])


def test_a_server_that_does_not_answer_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = SETTINGS["flow"] | {"approve": ["assisted_manual"]}
    workspace = make_workspace(tmp_path, images=2, holdout=0, flow=flow).workspace
    url = "http://127.0.0.1:1/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with sam_engine_with(str(ROOT)) as run:
        for command in (
            ("janitor", workspace),
            ("schedule", "show", workspace),
            ("approve", workspace, "assisted_manual"),
            ("run", "assisted_manual", workspace, "--until-done"),
        ):
            done = run(*command)
            last = done.err.splitlines()[-1]
            assert done.status == 1, command
            assert "Traceback" not in done.err, command
            assert f"{url}: Prefect's server does not answer" in last, command
            assert last.startswith("error: assisted_manual is approved; ") == (command[0] == "approve")
