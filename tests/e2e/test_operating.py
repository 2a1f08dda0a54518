"""The commands of docs/operating.md, from a workspace to a scheduled run, as they stand there."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.workspace import Workspace
from flows.deployments import name_of
from tests.documents import ROOT, blocks
from tests.e2e.unattended import Operator, asked_for, processes_of, wait_until
from tests.stages.workspaces import SETTINGS, make_workspace

pytestmark = [pytest.mark.faults, asked_for, pytest.mark.timeout(1800)]
_INSTALLS = "pip install"


def script(work: Path, pictures: Path, port: int) -> str:
    """All blocks behind the one that installs, with folders and a port of their own."""
    shell = [block.text for block in blocks(ROOT / "docs" / "operating.md") if block.language == "bash"]
    assert _INSTALLS in shell[0]
    assert len(shell) == 4
    text = "\n".join(shell[1:]).replace("WORK", str(work)).replace("PICTURES", str(pictures))
    return text.replace("4200", str(port))


def test_from_a_workspace_to_a_scheduled_run(tmp_path: Path) -> None:
    """A person approves twice on the way, in Prefect's page and at a shell, and the release without the server."""
    made = make_workspace(tmp_path / "made", images=4, holdout=0)
    operator = Operator(tmp_path)
    work = tmp_path / "work"
    text = script(work, tmp_path / "made" / "pictures" / "masks.json", operator.port)
    # Settings and a model with which the stages take seconds; a person would edit engine.yaml at this place.
    small = f"cp {tmp_path}/engine.yaml {work}/engine.yaml; cp -r {made.workspace}/models {work}/\n"
    flow = SETTINGS["flow"] | {"approve": ["assisted_manual", "semi_automatic", "release"]}
    settings = SETTINGS | {"assisted_manual": {"rounds": 1}, "flow": flow}
    (tmp_path / "engine.yaml").write_text(yaml.safe_dump(settings))
    first, rest = text.split("\n", 1)
    assert first == f"sam-engine init {work}"
    environment = operator.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("PREFECT_HOME", "PREFECT_API_URL"):
        del environment[name]
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", f"{first}\n{small}{rest}\nwait"],
        cwd=tmp_path,
        env=environment,
        stdout=(tmp_path / "shell.log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as shell:
        try:
            wait_until(operator.is_up)
            wait_until(lambda: bool(_runs_of("data-engine", operator)))
            (run,) = _runs_of("data-engine", operator)
            _approve(operator, run["id"], work)
            done = operator.wait_for(run["id"], "Completed", "Waiting", "Failed", "Crashed")
            assert (done["state_name"], done["name"]) == ("Completed", "work data-engine")
            assert "after sam-engine.model.registered" in (tmp_path / "shell.log").read_text()
            _approve_the_release(operator, work)
            planned = operator.post("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})
            assert planned, "a deployment with a time has runs in the future"
            _look_at_artifacts(operator, name_of(Workspace(work)))
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
    status = json.loads(operator.sam_engine("status", work, "--json", server=False))
    assert len(status["releases"]) == 1, "it was started by the event that the last stage was finished"


def _approve(operator: Operator, run_id: str, work: Path) -> None:
    """The run is suspended with no process; another that asks the same waits, and does not ask again."""
    operator.wait_for(run_id, "Suspended")
    other = operator.wait_for(operator.start("assisted-manual"), "Waiting", "Suspended", "Failed")
    assert other["state_name"] == "Waiting"
    assert f"sam-engine approve {work} assisted_manual" in other["state"]["message"]
    wait_until(lambda: processes_of(run_id) == [], at_most_s=60)
    operator.post(f"flow_runs/{run_id}/resume", run_input={"approved": True, "by": "Ann", "note": "in the page"})
    wait_until(lambda: any("semi-automatic" in str(key) for key in _questions(operator)))
    (kept,) = (work / "approvals").glob("*.json")
    assert '"by": "Ann"' in kept.read_text()
    assert "1 suspended run goes on" in operator.sam_engine("approve", work, "semi_automatic")


def _approve_the_release(operator: Operator, work: Path) -> None:
    """By somebody who has no server; the janitor lets the run go on, this one or the deployed one."""
    wait_until(lambda: any("release" in str(key) for key in _questions(operator)))
    (release,) = _runs_of("release", operator)
    assert "suspended" not in operator.sam_engine("approve", work, "release", server=False)
    operator.sam_engine("janitor", work)
    done = operator.wait_for(release["id"], "Completed", "Waiting", "Failed", "Crashed")
    assert done["state_name"] == "Completed", done["state"]["message"]


def _questions(operator: Operator) -> list[str]:
    """What suspended runs ask."""
    paused = operator.post("flow_runs/filter", flow_runs={"state": {"type": {"any_": ["PAUSED"]}}})
    return [run["state"]["state_details"]["pause_key"] for run in paused]


def _runs_of(flow: str, operator: Operator) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = operator.post("flow_runs/filter", flows={"name": {"any_": [flow]}})
    if flow == "data-engine":  # models that it registers start others, which find nothing to do
        runs = [run for run in runs if (run["created_by"] or {}).get("type") != "AUTOMATION"]
    return runs


def _look_at_artifacts(operator: Operator, name: str) -> None:
    found = {each["key"]: each for each in operator.post("artifacts/filter")}
    assert found[f"{name}-assisted-manual-round-1-retraining"]["data"] == 100
    table = {row[""]: row["Value"] for row in json.loads(found[f"{name}-semi-automatic-round-1-summary"]["data"])}
    assert table["Round"] == "1"
    report = found[f"{name}-fully-automatic-report"]["data"]
    assert report.startswith("# Rounds")
    assert "data:image/png;base64," in report
    assert "file://" in found[f"{name}-release-link"]["data"]
    assert found[f"{name}-release-report-link"]["data"].count(".html") > 0
    assert any("img/s  waiting for data" in line["message"] for line in _logged(operator))


def _logged(operator: Operator) -> Iterator[dict[str, Any]]:
    seen = 0
    while page := operator.post("logs/filter", offset=seen, limit=200):
        yield from page
        seen += len(page)
