"""Which runs are taken for dead, and which are late; tests/e2e/test_unattended.py kills real ones."""

import math
import os
import socket
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import CreatedBy, FlowRun
from prefect.states import Pending, Running, Scheduled

from flows.run_records import RunRecord
from flows.zombies import _reason, superseded

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HERE = socket.gethostname()


def late(deployment: UUID | None, minutes: float, **more: Any) -> FlowRun:
    made = {"auto_scheduled": True, "expected_start_time": NOW - timedelta(minutes=minutes)} | more
    return FlowRun(flow_id=uuid4(), deployment_id=deployment, state=Scheduled(), **made)


def test_of_late_runs_the_last_of_each_deployment_stays() -> None:
    first, second = uuid4(), uuid4()
    runs = [late(first, 30), late(first, 20), late(first, 10), late(second, 25)]
    by_hand = late(first, 40, auto_scheduled=False, created_by=CreatedBy(type="USER"))
    by_event = late(first, 35, auto_scheduled=False, created_by=CreatedBy(type="AUTOMATION"))
    to_come, once_more = late(first, -5), late(first, 50, run_count=1)
    found = superseded([to_come, *runs, by_hand, by_event, once_more, late(None, 60)], now=NOW)
    assert [run.id for run in found] == [by_event.id, runs[0].id, runs[1].id]
    assert superseded([runs[3], to_come], now=NOW) == []


def record(**more: Any) -> RunRecord:
    return RunRecord(**({"what": "run", "flow_run": "1a", "pid": 1, "host": HERE, "started": 0.0} | more))


OLD = datetime.now(UTC) - timedelta(hours=1)
TO_COME = datetime.now(UTC) + timedelta(days=1)  # however long the tests before take
GONE = 2**22 + 1  # above every process number


@pytest.mark.parametrize(
    ("run", "known", "dead"),
    [
        ({"state": Running()}, (record(), True), None),
        ({"state": Running()}, (record(), False), "process 1 is gone"),
        ({"state": Running()}, (record(host="another"), False), None),
        ({"state": Running()}, (record(ended=math.inf), False), None),
        ({"state": Running()}, (record(ended=0.0), False), "its work had ended"),
        ({"state": Pending(timestamp=OLD)}, None, "no process took it up"),
        ({"state": Pending(timestamp=TO_COME)}, None, None),
        ({"state": Pending(timestamp=TO_COME), "run_count": 1}, (record(), False), None),
        ({"state": Pending(timestamp=TO_COME), "run_count": 1}, (record(ended=0.0), False), None),
        ({"state": Pending(timestamp=TO_COME), "run_count": 1, "infrastructure_pid": f"{HERE}:{GONE}"}, None, None),
        ({"state": Pending(timestamp=OLD), "run_count": 1}, (record(ended=0.0), False), "no process took it up"),
        ({"state": Running(timestamp=OLD)}, None, "it left no record of a process"),
        ({"state": Running(timestamp=OLD), "infrastructure_pid": "another:1"}, None, None),
        ({"state": Pending(), "infrastructure_pid": f"{HERE}:{GONE}"}, None, f"process {GONE} is gone"),
        ({"state": Running(timestamp=OLD), "infrastructure_pid": f"{HERE}:{os.getpid()}"}, None, None),
    ],
)
def test_only_what_is_known_to_be_dead_is_closed(run: dict[str, Any], known: Any, dead: str | None) -> None:
    made = FlowRun(flow_id=uuid4(), **run)
    assert _reason(made, known, set(), on_disk=True, grace_s=300) == dead
    assert _reason(made, known, {str(made.id)}, on_disk=True, grace_s=300) is None, "it has a process here"


def test_without_a_disk_of_its_own_a_workspace_holds_no_proof() -> None:
    run = FlowRun(flow_id=uuid4(), state=Running(timestamp=OLD))
    assert _reason(run, None, set(), on_disk=False, grace_s=300) is None
