"""Builds that are killed, cut off or begun twice: whole, or not there."""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.ingest import ingest
from engine.release.build import build_release
from engine.release.verify import verify_release
from engine.store import Store
from schemas.errors import InputError, WaitError
from tests.engine.release.conftest import add_masks
from tests.engine.release.released import SMALL_TARS, contents
from tests.engine.release.work_to_kill import CONFIG, build_to_image
from tests.faults import check_power_cuts
from tests.forks import exit_code
from tests.templates import new_store

KILLS = {"within the first tar": 2, "within the second tar": 5, "before it becomes visible": 0}


@pytest.mark.parametrize("image", KILLS.values(), ids=KILLS)
def test_killed_build_shows_nothing_and_the_next_run_finishes_it(make_store: Callable[..., Store], image: int) -> None:
    undisturbed, killed = make_store("undisturbed"), make_store("killed")
    expected = contents(build_release(undisturbed, config=CONFIG, name="release").path)
    assert exit_code(build_to_image, killed.workspace, image) == -signal.SIGKILL
    releases = killed.workspace / "releases"
    assert not [path for path in releases.iterdir() if not path.name.startswith(".")]
    finished = {path.name: path.stat().st_mtime_ns for path in releases.glob(".*.building/*.tar")}
    info = build_release(killed, config=CONFIG, name="release")
    assert contents(info.path) == expected
    for name, written_ns in finished.items():
        assert (info.path / name).stat().st_mtime_ns == written_ns
    assert sorted(path.name for path in releases.iterdir()) == [".build.lock", "release"]


def test_full_disk_is_one_clear_line_and_the_next_run_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 6:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(InputError, match="disk is full"):
            build_release(store, config=SMALL_TARS)
    assert not [path for path in (store.workspace / "releases").iterdir() if not path.name.startswith(".")]
    assert verify_release(build_release(store, config=SMALL_TARS).path) == []


def test_two_builds_at_once_are_refused(store: Store) -> None:
    def while_building(what: str, done: int, total: int) -> None:
        if done == 1:
            with pytest.raises(WaitError, match="another release is being built or repaired"):
                build_release(store, name="other")

    build_release(store, progress=while_building)


def test_after_a_power_cut_a_release_is_whole_or_not_there(templates: Path, tmp_path: Path) -> None:
    small = new_store(tmp_path / "small")
    ingest(small, [templates / "pictures" / f"{number}.png" for number in range(2)])
    add_masks(small, "fully_automatic", per_image=1)

    def problems(root: Path) -> list[str] | None:
        release = root / "w" / "releases" / "release"
        return [str(problem) for problem in verify_release(release)] if release.exists() else None

    check_power_cuts(
        tmp_path / "cuts",
        lambda root: shutil.copytree(small.workspace, root / "w") and None,
        lambda root: build_release(Store(root / "w"), config=CONFIG, name="release"),
        problems,
        old=None,
        new=[],
    )
