"""What tests of several packages share."""

import os
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from engine.ingest import ingest
from engine.store import Store
from schemas.config import CONFIG_FILE
from tests.pictures import write_coco
from tests.templates import new_store

# The same fifty examples in every run, and no deadline: shared machines stall.
settings.register_profile("house", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("house")

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = frozenset({"slow", "faults", "labelstudio", "browser", "ray"})


def pytest_configure() -> None:
    """Side by side, each worker and the processes that it starts have their share of the cores (`pytest -n`)."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        threads = max(1, (os.cpu_count() or 1) // workers)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests that `pytest` alone leaves out are found by their text (.ci/run), so that CI does not import all
    others for each kind of them."""
    for item in items:
        for name in LEFT_OUT.intersection(mark.name for mark in item.iter_markers()):
            if f"pytest.mark.{name}" not in _text(item.path):
                raise pytest.UsageError(f"{item.nodeid}: .ci/run finds it by pytest.mark.{name} in its file")


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of labelled photographs (bsds500, coco_mini, ...); tests that need it are skipped without it."""
    folder = Path(os.environ.get("SAM_ENGINE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "coco_mini" / "val.json").is_file():
        pytest.skip("needs the labelled photographs; name their folder in SAM_ENGINE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of small inputs that once showed a fault; tests that need it are skipped without it."""
    folder = Path(os.environ.get("SAM_ENGINE_TEST_CASES", ROOT.parent / "shared" / "cases"))
    if not (folder / "ingest" / "expect.json").is_file():
        pytest.skip("needs the cases of label files; name their folder in SAM_ENGINE_TEST_CASES")
    return folder


def _with_small_shards(folder: Path) -> Store:
    store = new_store(folder / "workspace")
    (store.workspace / CONFIG_FILE).write_text("images: {shard_size: 3}\n")
    return store


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    """A workspace with nothing in it and shards of 3 images."""
    return _with_small_shards(tmp_path)


@pytest.fixture(scope="session")
def _with_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with-shapes")
    splits = {n: "holdout" if n in (2, 5) else "train" for n in range(8)}
    ingest(_with_small_shards(folder), [write_coco(folder / "incoming", count=8, splits=splits)])
    return folder


@pytest.fixture
def store(_with_shapes: Path, tmp_path: Path) -> Store:
    """A workspace with 8 pictures of shapes (96x64) and their masks, in shards of 3; two of them held out."""
    return Store(shutil.copytree(_with_shapes, tmp_path, dirs_exist_ok=True) / "workspace")


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Label Studio's SDK waits seconds before it tries again; here hundredths."""
    monkeypatch.setattr("label_studio_sdk.core.http_client.INITIAL_RETRY_DELAY_SECONDS", 0.01)
