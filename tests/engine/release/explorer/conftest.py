"""Releases that are looked at."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.release.build import build_release
from engine.release.explorer.app import make_app
from engine.release.explorer.opened import OpenedRelease, opened_releases
from engine.store import Store
from schemas.config import ReleaseConfig


@pytest.fixture(scope="package")
def workspace(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two releases: `all` of two stages, in several tars, and `automatic`. Nobody changes it."""
    path = tmp_path_factory.mktemp("explorer") / "workspace"
    store = Store(shutil.copytree(templates / "filled", path))
    config = ReleaseConfig(images_per_tar=3, blur=False)
    build_release(store, config=config, stages=["fully_automatic", "assisted_manual"], name="all")
    build_release(store, config=config, name="automatic")
    return path


@pytest.fixture(scope="package")
def folder(workspace: Path) -> Path:
    return workspace / "releases" / "all"


@pytest.fixture(scope="package")
def releases(workspace: Path) -> Iterator[list[OpenedRelease]]:
    with opened_releases([workspace / "releases" / name for name in ("all", "automatic")]) as opened:
        yield opened


@pytest.fixture(scope="package")
def release(releases: list[OpenedRelease]) -> OpenedRelease:
    return releases[0]


@pytest.fixture(scope="package")
def client(releases: list[OpenedRelease]) -> TestClient:
    return TestClient(make_app(releases, command="sam-engine release explore"), base_url="http://127.0.0.1:8090")
