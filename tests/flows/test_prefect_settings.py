"""Where Prefect keeps its state, and the deployments."""

import importlib
import os
from pathlib import Path

import pytest
import yaml

from flows.prefect_settings import prepare_prefect

ROOT = Path(__file__).parents[2]
VARIABLES = (
    "PREFECT_HOME",
    "PREFECT_API_URL",
    "PREFECT_LOGGING_LEVEL",
    "PREFECT_SERVER_ANALYTICS_ENABLED",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS",
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


def test_every_deployment_names_a_flow_that_takes_a_workspace() -> None:
    from prefect import Flow

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = set()
    for deployment in deployments:
        path, _, function = deployment["entrypoint"].partition(":")
        found = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
        assert isinstance(found, Flow)
        more = {"stages", "name", "withheld"} if found.name == "release" else set()
        assert set(found.parameters.properties) == {"workspace"} | more
        assert set(deployment["parameters"]) == {"workspace"}
        assert deployment["concurrency_limit"] == 1
        names.add(found.name)
    assert names == {"assisted-manual", "semi-automatic", "fully-automatic", "data-engine", "release"}
