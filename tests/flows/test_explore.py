"""`sam-engine release explore`: what it hands to the explorer, which has tests of its own."""

from pathlib import Path
from typing import Any

import pytest

from engine.quality.returned import returned_images
from engine.release.explorer import serving
from engine.release.explorer.sending import Sent
from engine.store import Store
from schemas.errors import WaitError
from schemas.tables import Round
from stages import movers
from tests.engine.stores import store_of_images
from tests.flows.cli_runner import sam_engine

MADE = {7: [("fully_automatic", 1)]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = store_of_images(tmp_path, [7, 8])
    store.put_round(Round("fully_automatic", 1, (7, 8), state="annotated"))
    return store


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last explorer was given."""
    given: dict[str, Any] = {}

    def explore(folders: list[Path], **others: Any) -> None:
        given.update(others, folders=folders)

    monkeypatch.setattr(serving, "explore", explore)
    return given


def test_two_releases_of_a_workspace(store: Store, handed: dict[str, Any]) -> None:
    one, other = (store.workspace / "releases" / name for name in ("one", "other"))
    assert sam_engine("release", "explore", one, "--beside", other, "--port", "0").status == 0
    assert handed["folders"] == [one, other]
    assert (handed["host"], handed["port"], handed["send"]) == ("127.0.0.1", 0, None)
    assert handed["command"] == f"sam-engine release explore {one} --workspace {store.workspace.resolve()}"
    with pytest.raises(ValueError, match="no mask 5"):
        handed["lineage"](5)


def test_a_release_elsewhere(tmp_path: Path, handed: dict[str, Any]) -> None:
    assert sam_engine("release", "explore", tmp_path).status == 0
    assert handed["lineage"] is handed["send"] is None
    assert handed["command"].endswith("--workspace WORKSPACE")
    assert sam_engine("release", "explore", tmp_path, "--workspace", tmp_path / "none").status == 2
    refused = sam_engine("release", "explore", "memory://bucket/release")
    assert (refused.status, "must lie on a disk of this machine" in refused.err) == (2, True)


def test_nothing_is_sent_while_a_run_moves_the_stage(
    store: Store, handed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sam_engine("release", "explore", store.workspace / "releases" / "one", "--workspace", store.workspace)
    with movers.only_mover(store, "fully_automatic"), monkeypatch.context() as as_another_process:
        as_another_process.setattr(movers, "_held", movers.ContextVar("_held", default=frozenset()))
        with pytest.raises(WaitError, match=r"another run works on fully_automatic.*send them when it has ended"):
            handed["send"](MADE)
    assert returned_images(store) == []
    assert handed["send"](MADE) == Sent(1, 0)
    assert [image.image_id for image in returned_images(store)] == [7]
