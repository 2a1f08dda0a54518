from pathlib import Path

import pytest

from engine.store import Store
from stages.rounds import TickResult, tick
from tests.stages.workspaces import make_workspace


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[TickResult]]:
    """A workspace whose three stages are through, and what each tick said."""
    store = make_workspace(tmp_path_factory.mktemp("finished"))
    results = []
    for stage in ("assisted_manual", "semi_automatic", "fully_automatic"):
        while not results or results[-1].stage != stage or results[-1].state != "done":
            results.append(tick(store, stage))
    return store, results


@pytest.fixture
def workspace(tmp_path: Path) -> Store:
    """A fresh workspace with six pictures, one of them held out."""
    return make_workspace(tmp_path)
