"""A stage on Ray actors leaves the same tables as in this process."""

from pathlib import Path

import pytest

from flows.ray_shards import RayShards
from stages.rounds import tick
from stages.shards import serial
from tests.stages.workspaces import make_workspace

pytest.importorskip("ray", reason="the extra [ray] is not installed")


@pytest.mark.ray
def test_actors_write_what_one_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    stores = {name: make_workspace(tmp_path / name) for name in ("ray", "serial")}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        for name, map_shards in (("ray", RayShards(actors=2)), ("serial", serial)):
            for _ in range(2):  # open the round, annotate it
                tick(stores[name], "assisted_manual", map_shards=map_shards)
        with_ray, alone = (
            stores[name].read_table("assisted_manual").sort_by("mask_id").to_pylist() for name in ("ray", "serial")
        )
    finally:
        ray.shutdown()
    assert with_ray
    assert repr(with_ray) == repr(alone)  # as text, because unknown scores are NaN
