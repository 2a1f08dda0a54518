"""deploy/: the compose file by its schema, the units by what systemd reads, and commands that there are."""

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from flows.cli import app
from flows.prefect_settings import LEASES_ON_DISK
from tests.flows.test_documented_commands import check

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))

_TEXT, _TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
_ENVIRONMENT = {"type": "object", "additionalProperties": {"type": ["string", "number", "null"]}}
_CONDITION = {"enum": ["service_started", "service_healthy", "service_completed_successfully"]}
# The part of the Compose Specification that is used here, as strict: what is misspelt is refused.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "required": ["services"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {
            "type": "object",
            "additionalProperties": False,
            "patternProperties": {"^[a-zA-Z0-9._-]+$": {"$ref": "#/definitions/service"}},
        },
        "volumes": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
    },
    "definitions": {
        "service": {
            "type": "object",
            "additionalProperties": False,
            "required": ["image"],
            "properties": {
                "image": _TEXT,
                "build": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"context": _TEXT, "dockerfile": _TEXT, "args": _ENVIRONMENT},
                },
                "command": _TEXTS,
                "depends_on": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["condition"],
                        "properties": {"condition": _CONDITION},
                    },
                },
                "environment": _ENVIRONMENT,
                "healthcheck": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "test": _TEXTS,
                        "interval": {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"},
                        "retries": {"type": "integer"},
                    },
                },
                "init": {"type": "boolean"},
                "network_mode": {"type": "string", "pattern": "^(bridge|host|none|service:.+)$"},
                "ports": {"type": "array", "items": {"type": "string", "pattern": r"^([\d.]+:)?\d+:\d+$"}},
                "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                "stop_grace_period": {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"},
                "volumes": {"type": "array", "items": {"type": "string", "pattern": "^[^:]+:/[^:]+(:ro)?$"}},
            },
        }
    },
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_the_compose_file_is_of_its_schema(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, SCHEMA)
    misspelt = compose | {"services": compose["services"] | {"worker": {"image": "x", "commands": []}}}
    with pytest.raises(jsonschema.ValidationError, match="commands"):
        jsonschema.validate(misspelt, SCHEMA)


def test_what_the_services_name_is_there(compose: dict[str, Any]) -> None:
    services, volumes = compose["services"], compose["volumes"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys(), name
        if mode := service.get("network_mode"):
            assert mode.removeprefix("service:") in services
            assert "ports" not in service, "ports are those of the service whose network it is"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in volumes or (DEPLOY / source).exists(), f"{name}: {volume}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} would be open to everybody"
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
        command = service.get("command", [])
        if command and command[0] == "sam-engine":
            check(typer.main.get_command(app), command[1:])
    assert services["server"]["environment"]["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] == LEASES_ON_DISK
    assert {"database", "server", "worker", "label-studio"} <= services.keys()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_start_commands_that_there_are(path: Path) -> None:
    unit = configparser.RawConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(path.read_text())
    service = dict(unit["Service"])
    environment = _environment()
    words = [
        re.sub(r"^\$\{(\w+)\}$", lambda found: environment[found[1]], word)
        for word in shlex.split(service["ExecStart"])
    ]
    assert Path(words[0]).is_absolute()
    if Path(words[0]).name == "sam-engine":
        check(typer.main.get_command(app), words[1:])
    assert (service["KillSignal"], service["Restart"]) == ("SIGTERM", "always")
    for after in unit["Unit"]["After"].split():
        assert after == "network-online.target" or (path.parent / after).is_file()


def test_the_environment_keeps_leases_on_disk() -> None:
    assert len(UNITS) == 4
    assert _environment()["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] == LEASES_ON_DISK


def _environment() -> dict[str, str]:
    lines = (DEPLOY / "sam-engine.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
