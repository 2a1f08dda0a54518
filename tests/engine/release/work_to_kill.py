"""Builds, mends or exports a release and kills itself (SIGKILL) at a moment; called in processes of their own."""

from collections.abc import Callable
from pathlib import Path

from engine.places import place
from engine.release import build
from engine.release.build import build_release
from engine.release.exporters import export_release
from engine.release.repair import repair_release
from engine.store import Store
from schemas.config import ReleaseConfig
from tests.deaths import calls_until, die

CONFIG = ReleaseConfig(images_per_tar=3, blur=False)


def work(job: str, workspace: Path, release: Path) -> None:
    if job == "build":
        build_release(Store(workspace), config=CONFIG, name=release.name)
    elif job == "repair":
        repair_release(place(release), Store(workspace))
    else:
        export_release(release, workspace / "exported", form="png")


def work_to_call(job: str, workspace: Path, at: int) -> None:
    """Die at a call in the engine; 0: count them all into the file WORKSPACE/calls."""
    calls = calls_until(at, lambda: work(job, workspace, workspace / "releases" / "release"), of=["engine"])
    (workspace / "calls").write_text(str(calls))


def build_to_image(workspace: Path, image: int) -> None:
    """Die once so many images are written; 0: before the release becomes visible."""
    if image == 0:
        build.publish = die  # type: ignore[assignment]
    progress: Callable[[str, int, int], object] = lambda _what, done, _total: done == image and die()  # noqa: E731
    build_release(Store(workspace), config=CONFIG, name="release", progress=progress)
