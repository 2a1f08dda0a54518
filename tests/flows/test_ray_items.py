"""A release has the same bytes from Ray's actors as from this process."""

import shutil
from pathlib import Path

import pytest

from engine.processes import Processes
from engine.release.build import build_release
from engine.store import Store
from flows.ray_items import RayItems
from schemas.config import ReleaseConfig
from stages.rounds import tick
from tests.stages.workspaces import make_workspace

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")


@pytest.mark.ray
def test_a_release_has_the_same_bytes_from_actors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = make_workspace(tmp_path / "ray", images=4, holdout=1, assisted_manual={"rounds": 1})
    while tick(made, "assisted_manual").state == "advanced":
        pass
    shutil.copytree(made.workspace, tmp_path / "alone")
    stores = {"ray": made, "alone": Store(tmp_path / "alone")}
    config = ReleaseConfig(images_per_tar=1)
    found = {}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        for name, map_tars in (("ray", RayItems(2)), ("alone", Processes(1))):
            info = build_release(
                stores[name], config=config, stages=["assisted_manual"], name="release", map_tars=map_tars, verify=True
            )
            found[name] = {str(path.relative_to(info.path)): path.read_bytes() for path in info.path.rglob("*.*")}
            assert len(info.manifest.tars) > 1
    finally:
        ray.shutdown()
    assert found["ray"] == found["alone"]
