from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stages.workspaces import tiny_sam


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One throw-away Prefect server for all tests: it takes seconds to start."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=240):
        yield


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's models folder with the tiny model in it."""
    from model.registry import ModelCard
    from model.storage import save_model

    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    save_model(tiny_sam(), tmp_path / "home" / "models", ModelCard(name="tiny"))
    return tmp_path / "home" / "models" / "tiny" / "weights.safetensors"
