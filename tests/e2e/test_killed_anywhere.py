"""What a stage does is killed (SIGKILL) at seeded calls of its code, and done again: same tables as without a kill."""

import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.store import Store
from schemas.stages import Stage
from stages.rounds import tick
from tests.deaths import calls_until
from tests.e2e.test_killed_flow import contents
from tests.forks import exit_code
from tests.stages.workspaces import make_workspace

STAGE: Stage = "assisted_manual"
# What each runs up to before the kill: how many ticks come first, and which code's calls are counted in the next.
PARTS = {
    "worker": (1, ["engine", "stages"]),
    "trainer": (2, [os.path.join("model", "training"), "stages"]),
    "whole stage": (0, ["engine", "model", "stages"]),
}
SEEDS = int(os.environ.get("SAM_ENGINE_KILL_SEEDS", "3"))
pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


def to_the_end(workspace: Path) -> None:
    torch.set_num_threads(1)  # sums over threads are rounded otherwise
    while tick(Store(workspace), STAGE).state != "done":
        pass


def tick_to_call(workspace: Path, part: str, at: int) -> None:
    """Die at that call of the next tick, or of all; 0: count them into the file `calls` beside the workspace."""
    torch.set_num_threads(1)
    before, of = PARTS[part]
    work = (lambda: tick(Store(workspace), STAGE)) if before else (lambda: to_the_end(workspace))
    (workspace.parent / "calls").write_text(str(calls_until(at, work, of=of)))


def ticked(folder: Path, part: str) -> Path:
    """A workspace as it is before that part."""
    settings: dict[str, Any] = {STAGE: {"rounds": 1}}
    store = make_workspace(folder, images=4, **settings)
    for _ in range(PARTS[part][0]):
        assert exit_code(one_tick, store.workspace) == 0
    return store.workspace


def one_tick(workspace: Path) -> None:
    torch.set_num_threads(1)
    tick(Store(workspace), STAGE)


@pytest.mark.parametrize("part", PARTS)
def test_killed_at_any_call_it_ends_as_if_nothing_had_been(tmp_path: Path, part: str) -> None:
    before = ticked(tmp_path / "before", part)
    undisturbed = Path(shutil.copytree(before, tmp_path / "undisturbed" / "workspace"))
    assert exit_code(tick_to_call, undisturbed, part, 0) == 0
    calls = int((undisturbed.parent / "calls").read_text())
    assert exit_code(to_the_end, undisturbed) == 0
    expected = contents(Store(undisturbed))
    for at in sorted(random.Random(part).sample(range(1, calls + 1), SEEDS)):
        workspace = Path(shutil.copytree(before, tmp_path / "killed" / "workspace"))
        assert exit_code(tick_to_call, workspace, part, at) == -signal.SIGKILL, at
        assert exit_code(to_the_end, workspace) == 0, at
        assert contents(Store(workspace)) == expected, f"killed at call {at} of {calls}"
        left = [path.name for path in (workspace / "models" / ".training").glob("*")]
        assert left == [], f"killed at call {at} of {calls}"
        shutil.rmtree(workspace.parent)
    print(f"{part}: {SEEDS} kills among {calls} calls")
