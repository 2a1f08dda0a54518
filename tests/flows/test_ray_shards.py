"""Stages on Ray actors leave the same tables as in this process, whatever dies meanwhile."""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.store import Store
from flows.ray_shards import RayShards
from schemas.errors import InputError
from stages import steps
from stages.rounds import TickResult, tick
from stages.shards import MapShards, serial
from tests.flows.dying_worker import DyingWorker
from tests.stages.workspaces import make_workspace

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
pytestmark = pytest.mark.ray

MANUAL = "assisted_manual"
KILL_SEEDS = range(int(os.environ.get("SAM_ENGINE_KILL_SEEDS", "2")))
NODE_SEEDS = range(int(os.environ.get("SAM_ENGINE_KILL_SEEDS", "1")))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "worker_of", lambda stage: DyingWorker)


def annotated(folder: Path, map_shards: MapShards) -> tuple[Store, TickResult]:
    """A workspace after its first round was annotated."""
    store = opened(folder)
    return store, tick(store, MANUAL, map_shards=map_shards)


def opened(folder: Path) -> Store:
    """A workspace whose first round has eight images in three shards."""
    store = make_workspace(folder, images=9, assisted_manual={"rounds": 1})
    tick(store, MANUAL)
    return store


def masks(store: Store, *, without: int = 0) -> str:
    rows = store.read_table(MANUAL).sort_by("mask_id").to_pylist()
    return repr([row for row in rows if row["image_id"] != without])  # as text, because unknown scores are NaN


@pytest.mark.usefixtures("cluster")
def test_actors_write_what_one_process_writes(tmp_path: Path) -> None:
    with_ray, told = annotated(tmp_path / "ray", RayShards(actors=2))
    alone, told_alone = annotated(tmp_path / "serial", serial)
    assert len(masks(alone)) > 1000
    assert masks(with_ray) == masks(alone)
    assert told == told_alone


@pytest.mark.usefixtures("cluster", "dying")
@pytest.mark.parametrize("seed", KILL_SEEDS)
def test_actors_that_are_killed_lose_nothing(tmp_path: Path, seed: int) -> None:
    """Five deaths at seeded steps: before rows are made, before and after they are committed."""
    store = opened(tmp_path / "ray")
    draw = random.Random(seed)
    deaths = store.workspace / "deaths"
    deaths.write_text(" ".join(str(draw.randrange(3)) for _ in range(5)))
    tick(store, MANUAL, map_shards=RayShards(actors=2))
    assert len(deaths.read_text().split()) < 5, "none died"
    alone, _ = annotated(tmp_path / "serial", serial)
    assert masks(store) == masks(alone)
    assert not store.rounds()[0].metrics.images_left_out


@pytest.mark.usefixtures("cluster", "dying")
def test_an_image_that_kills_is_found_and_left_out(tmp_path: Path) -> None:
    store = opened(tmp_path / "ray")
    killer = store.rounds()[0].image_ids[1]
    (store.workspace / "killers").write_text(str(killer))
    done = tick(store, MANUAL, map_shards=RayShards(actors=2))
    assert f"left out, since they take their process down: images [{killer}]" in done.message
    assert store.rounds()[0].metrics.images_left_out == (killer,)
    alone, _ = annotated(tmp_path / "serial", serial)
    assert masks(store) == masks(alone, without=killer)
    assert masks(store) != masks(alone)
    assert tick(store, MANUAL).action == "retrain", "the run goes on"


@pytest.mark.parametrize("seed", NODE_SEEDS)
def test_a_node_that_is_lost_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dying: None, seed: int
) -> None:
    """At a seeded moment after actors of both nodes have begun."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.shutdown()
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    store = opened(tmp_path / "ray")
    (store.workspace / "slow").touch()
    lost: list[float] = []

    def lose_the_second_node() -> None:
        pids = store.workspace / "pids"
        while not pids.exists() or len(list(pids.iterdir())) < 2:
            time.sleep(0.05)
        time.sleep(random.Random(seed).uniform(0, 0.5))  # each waits for a second in front of its shard
        nodes.remove_node(second, allow_graceful=False)
        lost.append(time.monotonic())

    thread = threading.Thread(target=lose_the_second_node, daemon=True)
    thread.start()
    try:
        tick(store, MANUAL, map_shards=RayShards(actors=2))
        thread.join(60)
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert lost, "both nodes worked on shards when one was lost"
    alone, _ = annotated(tmp_path / "serial", serial)
    assert masks(store) == masks(alone)


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    ray.shutdown()
    with pytest.raises(InputError, match=r"^no Ray cluster answers at 127\.0\.0\.1:1: .*`ray start --head`"):
        RayShards()(_never, ["000000"])


def test_a_cluster_that_does_not_start_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with too much to do Ray gives up after half a minute, and raises a bare Exception."""

    def give_up(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.shutdown()
    monkeypatch.setattr(ray, "init", give_up)
    with pytest.raises(InputError, match=r"^no Ray cluster answers at this machine: The current node timed out"):
        RayShards()(_never, ["000000"])


def _never(shard: str) -> Any:
    raise AssertionError(shard)
