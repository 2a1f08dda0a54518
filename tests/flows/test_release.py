"""The release job on a real Prefect server."""

import json
from pathlib import Path

import pytest

from engine.release.verify import verify_release
from flows.release import release
from schemas.errors import WaitError
from stages.rounds import tick
from tests.stages.workspaces import make_workspace

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_release_is_built_verified_and_reported_on(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=4, holdout=1, assisted_manual={"rounds": 1})
    workspace = str(store.workspace)
    with pytest.raises(WaitError, match="no masks of assisted_manual to release; make them first"):
        release(workspace, stages=["assisted_manual"])
    while tick(store, "assisted_manual").state == "advanced":
        pass
    made = release(workspace, stages=["assisted_manual"])
    assert made["created"]
    assert made["masks"] == store.counts()["assisted_manual"]
    assert verify_release(made["path"]) == []
    page = Path(made["report"])
    assert page.is_relative_to(store.workspace / "reports")
    assert json.loads(page.with_suffix(".json").read_text())["masks"] == made["masks"]
    again = release(workspace, stages=["assisted_manual"])
    assert again == made | {"created": False}
