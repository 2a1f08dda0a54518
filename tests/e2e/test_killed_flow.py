"""The fully automatic flow is killed (SIGKILL) and started again: same tables as without a kill, nothing doubled."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.store import Store
from model.registry import list_models
from schemas.stages import STAGES
from stages.rounds import tick
from tests.e2e.flow_to_kill import MOMENTS
from tests.stages.workspaces import make_workspace

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace before its last stage."""
    store = make_workspace(tmp_path_factory.mktemp("before"), images=8, assisted_manual={"rounds": 1})
    for stage in STAGES[:2]:
        while tick(store, stage).state != "done":
            pass
    return store.workspace


@pytest.fixture(scope="module")
def unharmed(before: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the tables hold when nothing is killed."""
    store = copy_of(before, tmp_path_factory.mktemp("unharmed"))
    while tick(store, "fully_automatic").state != "done":
        pass
    return contents(store)


def copy_of(workspace: Path, folder: Path) -> Store:
    shutil.copytree(workspace, folder / "workspace")
    return Store(folder / "workspace")


def contents(store: Store) -> dict[str, Any]:
    """All rows, sorted, as text because unknown scores are NaN; the generator's times differ from run to run."""
    tables: dict[str, Any] = {}
    for name in store.counts():
        rows = store.read_table(name).to_pylist()
        for row in rows:
            if name == "generation":
                row["seconds"] = sorted(json.loads(row["seconds"]))
            if name == "rounds":
                row["metrics"] = without_times(json.loads(row["metrics"]))
            if name == "shard_sums":
                row["sums"] = without_times(json.loads(row["sums"]))
        tables[name] = sorted(repr(row) for row in rows)
    tables["models"] = sorted(model.model_id for model in list_models([store.workspace / "models"]))
    return tables


def without_times(metrics: dict[str, Any]) -> dict[str, Any]:
    if metrics.get("generation") is not None:
        metrics["generation"] |= {"images_per_s": None, "seconds": sorted(metrics["generation"]["seconds"])}
    return metrics


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")} | {
        "PYTHONPATH": str(ROOT)
    }


@pytest.mark.parametrize("moment", [function.__name__ for function in MOMENTS])
def test_a_killed_flow_goes_on_where_it_was(
    before: Path, unharmed: dict[str, Any], tmp_path: Path, moment: str
) -> None:
    store = copy_of(before, tmp_path)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.e2e.flow_to_kill", store.workspace, moment],
        cwd=ROOT,
        env=environment(),
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    found = contents(store)
    assert found != unharmed, "it was killed before the end"
    assert set(found["fully_automatic"]) <= set(unharmed["fully_automatic"]), "no half of a shard can be seen"
    committed = shards_committed(store)
    versions = store.versions()

    command = [sys.executable, "-m", "flows.cli", "run", "fully_automatic", store.workspace, "--until-done", "--json"]
    resumed = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert contents(store) == unharmed
    assert json.loads(resumed.stdout)["ticks"]["fully_automatic"][-1]["state"] == "done"
    written = store.versions()["fully_automatic"] - versions["fully_automatic"]
    assert written == len(store.shards()) - len(committed), "committed shards were not written again"
    assert not any((store.workspace / "models" / ".training").iterdir())


def shards_committed(store: Store) -> list[str]:
    return [shard for shard in store.shards() if store.committed("fully_automatic", shard, round=1) is not None]
