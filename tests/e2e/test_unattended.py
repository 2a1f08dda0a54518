"""Deployed runs on a real server, which is restarted, and real workers, which are killed: all ends well by itself."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.store import Store
from flows.deployments import DEPLOYMENTS
from flows.run_records import records
from stages.rounds import tick
from tests.e2e.test_killed_flow import contents, copy_of
from tests.e2e.unattended import Operator, asked_for, processes_of, wait_until
from tests.stages.workspaces import make_workspace

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc"),
]
STAGE = "assisted_manual"
# How often the server is restarted in one run and, where that is more than once, its worker killed.
RESTARTS = int(os.environ.get("SAM_ENGINE_RESTARTS", "1"))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which nothing was done yet."""
    settings = {STAGE: {"rounds": 1}, "retraining": {"steps": 4 * RESTARTS, "masks_per_image": 2}}
    return make_workspace(tmp_path_factory.mktemp("before"), images=4, **settings).workspace


@pytest.fixture(scope="module")
def unharmed(before: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = copy_of(before, tmp_path_factory.mktemp("unharmed"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the operator's processes have it: sums over threads are rounded otherwise
    try:
        while tick(store, STAGE).state != "done":
            pass
    finally:
        torch.set_num_threads(threads)
    return contents(store)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    (tmp_path / "home").mkdir()
    return Operator(tmp_path / "home")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """With a server that no test stops. Each takes away what it scheduled."""
    operator = Operator(tmp_path_factory.mktemp("home"))
    with operator.server():
        yield operator


def is_at_work(store: Store) -> bool:
    """Whether a run has told how far it is."""
    return any(alive and record.advance is not None for record, alive in records(store.files))


def test_restarts_of_the_server_and_deaths_of_workers_end_no_run(
    operator: Operator, before: Path, unharmed: dict[str, Any], tmp_path: Path
) -> None:
    """With leases in the server's memory a restart crashed the run: 410 Gone, Lease not found. Nobody helps: what goes
    on after a death does so by the deployment of the janitor."""
    store = copy_of(before, tmp_path)
    with ExitStack() as servers:
        server = servers.enter_context(operator.server())
        operator.sam_engine("schedule", "install", store.workspace, "--cron", "janitor=* * * * *")
        with ExitStack() as workers:
            worker = workers.enter_context(operator.worker())
            run_id = operator.start("assisted-manual")
            for number in range(1, RESTARTS + 1):
                wait_until(lambda: operator.has_ended(run_id) or is_at_work(store))
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
                server = servers.enter_context(operator.server())
                assert operator.run(run_id)["run_count"] <= number, "none was started anew by that"
                if RESTARTS == 1:
                    continue  # the next test kills a worker
                wait_until(lambda: operator.has_ended(run_id) or is_at_work(store))
                os.killpg(worker.pid, signal.SIGKILL)
                for process in processes_of(home=operator.home):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                worker = workers.enter_context(operator.worker())
            done = operator.wait_for(run_id, "Completed", "Crashed", "Failed")
            assert done["state_name"] == "Completed"
            print(f"{RESTARTS} restarts of the server, {done['run_count']} starts of the run")
    assert contents(store) == unharmed


@asked_for
def test_the_janitor_closes_what_is_dead_and_lets_it_go_on_and_leaves_what_works(
    serving: Operator, before: Path, unharmed: dict[str, Any], tmp_path: Path
) -> None:
    store = copy_of(before, tmp_path)
    with serving.scheduled(store.workspace):
        with serving.worker() as worker:
            run_id = serving.start("assisted-manual")
            wait_until(lambda: is_at_work(store))
            (process,) = processes_of(run_id)
            os.kill(process, signal.SIGSTOP)  # so that it is not done before all have looked
            assert "nothing to put in order" in serving.sam_engine("janitor", store.workspace, "--grace", 0)
            assert serving.run(run_id)["state_name"] == "Running", "it works"
            os.killpg(worker.pid, signal.SIGKILL)
            os.kill(process, signal.SIGKILL)
        assert serving.run(run_id)["state_name"] == "Running", "nobody has told Prefect"
        assert "restarted: workspace assisted-manual round 1" in serving.sam_engine("janitor", store.workspace)
        assert serving.run(run_id)["state_name"] == "AwaitingRetry"
        pending = serving.start("gates")
        serving.post(f"flow_runs/{pending}/set_state", state={"type": "PENDING", "name": "Pending"}, force=True)
        assert "nothing to put in order" in serving.sam_engine("janitor", store.workspace), "it may be starting"
        assert "no process took it up" in serving.sam_engine("janitor", store.workspace, "--grace", 0)
        with serving.worker():
            assert serving.wait_for(run_id, "Completed", "Crashed", "Failed")["state_name"] == "Completed"
            assert serving.wait_for(pending, "Completed", "Crashed", "Failed")["state_name"] == "Completed"
    assert contents(store) == unharmed


@asked_for
def test_nothing_dead_is_taken_for_alive_for_ten_minutes(operator: Operator, before: Path, tmp_path: Path) -> None:
    """By the schedule as it is installed, where it takes longest: a minute after a look of the janitor, so that at the
    next one a run without a process is not four minutes old yet."""
    store = copy_of(before, tmp_path)
    worker = ("flows.cli", "schedule", "worker")
    with operator.server(), operator.running(*worker) as killed:
        operator.sam_engine("schedule", "install", store.workspace)
        at_work, about_to = operator.start("assisted-manual"), operator.start("report")
        wait_until(lambda: is_at_work(store))
        for process in processes_of(at_work):
            os.kill(process, signal.SIGSTOP)  # so that it is not done before
        wait_until(lambda: 61 <= time.time() % 300 < 66)
        operator.post(f"flow_runs/{about_to}/set_state", state={"type": "PENDING", "name": "Pending"}, force=True)
        os.killpg(killed.pid, signal.SIGKILL)
        for process in processes_of(home=operator.home):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        died = time.monotonic()
        closed: dict[str, float] = {}

        def all_are_closed() -> bool:
            for run_id in {at_work, about_to} - closed.keys():
                if operator.run(run_id)["state_name"] not in ("Running", "Pending"):
                    closed[run_id] = time.monotonic() - died
            return len(closed) == 2

        with operator.running(*worker):  # as systemd would start it
            wait_until(all_are_closed)
            wait_until(lambda: operator.has_ended(at_work))
        assert operator.run(at_work)["state_name"] == "Completed", "it went on by itself"
    print(f"closed {closed[at_work]:.0f} s (running) and {closed[about_to]:.0f} s (pending) after the kill")
    assert max(closed.values()) < 600


@asked_for
def test_without_a_restart_it_only_closes(serving: Operator, before: Path, tmp_path: Path) -> None:
    store = copy_of(before, tmp_path)
    with serving.scheduled(store.workspace):
        for state, closed in (("PENDING", "Crashed"), ("CANCELLING", "Cancelled")):
            run_id = serving.start("assisted-manual")
            serving.post(f"flow_runs/{run_id}/set_state", state={"type": state, "name": state.title()}, force=True)
            serving.sam_engine("janitor", store.workspace, "--grace", 0, "--no-restart")
            assert serving.run(run_id)["state_name"] == closed
        other = copy_of(before, tmp_path / "other")
        run_id = serving.start("assisted-manual")
        serving.post(f"flow_runs/{run_id}/set_state", state={"type": "PENDING", "name": "Pending"}, force=True)
        assert "nothing to put in order" in serving.sam_engine("janitor", other.workspace, "--grace", 0)


@asked_for
def test_one_process_schedules_and_runs(serving: Operator, before: Path, tmp_path: Path) -> None:
    """`schedule serve`: no pool, no worker, and SIGTERM ends it."""
    store = copy_of(before, tmp_path)
    command = ("flows.cli", "schedule", "serve", store.workspace, "--cron", "janitor=* * * * *")
    with serving.running(*command) as served:
        wait_until(lambda: len(serving.post("deployments/filter")) == len(DEPLOYMENTS))
        run_id = serving.start("gates")
        assert serving.wait_for(run_id, "Completed", "Failed", "Crashed")["state_name"] == "Completed"

        def has_fired() -> bool:
            return any(
                run["auto_scheduled"] and run["state_type"] == "COMPLETED"
                for run in serving.post("flow_runs/filter", flows={"name": {"any_": ["janitor"]}})
            )

        wait_until(has_fired)
        served.send_signal(signal.SIGTERM)
        served.wait(timeout=300)
    serving.sam_engine("schedule", "remove", store.workspace)
