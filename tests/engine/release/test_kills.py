"""A build, a repair or an export that is killed (SIGKILL) anywhere leaves no half release, and the next run ends it."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store import Store
from tests.engine.release.released import contents
from tests.engine.release.test_repair import flip_a_bit
from tests.engine.release.work_to_kill import work, work_to_call
from tests.forks import exit_code

JOBS = ("build", "repair", "export")
MOMENTS = int(os.environ.get("SAM_ENGINE_KILL_SEEDS", "20"))
pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


@pytest.fixture
def starts(make_store: Callable[..., Store], tmp_path: Path) -> dict[str, Path]:
    """Workspaces before each job: without a release, with a damaged one, with a whole one."""
    bare = make_store("build").workspace
    built = Path(shutil.copytree(bare, tmp_path / "export"))
    work("build", built, built / "releases" / "release")
    damaged = Path(shutil.copytree(built, tmp_path / "repair"))
    flip_a_bit(damaged / "releases" / "release" / "sa_000000.tar")
    for name in ("sa_000001.tar", "index/masks/sa_000002.parquet", "README.md"):
        (damaged / "releases" / "release" / name).unlink()
    return {"build": bare, "repair": damaged, "export": built}


@pytest.mark.parametrize("job", JOBS)
def test_killed_anywhere_nothing_is_half_and_the_next_run_ends_it(
    starts: dict[str, Path], tmp_path: Path, job: str
) -> None:
    whole = contents(starts["export"] / "releases" / "release")
    undisturbed = Path(shutil.copytree(starts[job], tmp_path / "undisturbed"))
    assert exit_code(work_to_call, job, undisturbed, 0) == 0
    calls = int((undisturbed / "calls").read_text())
    assert calls > MOMENTS
    before = contents(starts[job] / "releases" / "release")
    for at in random.Random(job).sample(range(1, calls + 1), MOMENTS):
        workspace = Path(shutil.copytree(starts[job], tmp_path / "killed"))
        assert exit_code(work_to_call, job, workspace, at) == -signal.SIGKILL
        release, exported = workspace / "releases" / "release", workspace / "exported"
        for name, found in contents(release).items():
            if not Path(name).name.startswith("."):
                assert found in (whole[name], before.get(name)), f"{name} is half written after a kill at call {at}"
        assert not exported.exists() or contents(exported) == contents(undisturbed / "exported")
        shutil.rmtree(exported, ignore_errors=True)
        work(job, workspace, release)
        assert contents(release) == whole, f"after a kill at call {at}"
        assert contents(exported) == contents(undisturbed / "exported")
        left = {path.name for path in release.parent.iterdir()} - {"release", ".build.lock"}
        assert not left, f"after a kill at call {at}"
        shutil.rmtree(workspace)
