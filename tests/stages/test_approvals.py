"""What a person has to allow first: it holds for ticks, commands and releases, and for one state of the workspace."""

from pathlib import Path

import pytest

from engine.store import Store
from schemas.errors import InputError, WaitError
from stages.approvals import approve, find_approval, of_release, of_stage, require
from stages.planning import next_step
from stages.rounds import tick
from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import make_workspace


@pytest.fixture
def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The first stage and a release have to be approved."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    flow = {"approve": ["assisted_manual", "release"], "retries": 0}
    return make_workspace(tmp_path, images=4, holdout=0, assisted_manual={"rounds": 1}, flow=flow)


def test_a_stage_waits_until_a_person_approves_the_model_that_it_works_with(gated: Store) -> None:
    step = next_step(gated, "assisted_manual")
    assert step.action == "wait"
    assert step.approval is not None
    assert step.message.endswith(f"run: sam-engine approve {gated.files} assisted_manual")
    with pytest.raises(WaitError, match="waits for a person who approves model tiny"):
        tick(gated, "assisted_manual")
    refused = sam_engine("run", "assisted_manual", gated.workspace)
    assert (refused.status, refused.err.count("\n")) == (1, 1)

    done = sam_engine("approve", gated.workspace, "assisted_manual", "--by", "Ann", "--note", "looks well", "--json")
    assert done.status == 0
    assert done.result == {"what": "assisted_manual", "subject": "tiny", "approved": True, "resumed": 0}
    given = find_approval(gated.files, step.approval)
    assert given is not None
    assert (given.by, given.note) == ("Ann", "looks well")
    assert not sam_engine("approve", gated.workspace, "assisted_manual", "--json").result["approved"]
    assert tick(gated, "assisted_manual").action == "open"
    other_model = of_stage(gated.files.settings(), "assisted_manual", "another")
    with pytest.raises(WaitError, match="approves model another"):
        require(gated.files, other_model)


def test_a_release_waits_and_so_does_the_next_one_of_other_masks(gated: Store) -> None:
    sam_engine("approve", gated.workspace, "assisted_manual")
    tick(gated, "assisted_manual")
    config = gated.files.settings()
    before = of_release(gated, config, ["assisted_manual"])
    refused = sam_engine("release", "build", gated.workspace, "--stage", "assisted_manual")
    assert refused.status == 1
    way_out = f"sam-engine approve {gated.workspace} release --stage assisted_manual"
    assert way_out in refused.err
    tick(gated, "assisted_manual")  # annotates
    assert of_release(gated, config, ["assisted_manual"]) != before
    assert sam_engine(*way_out.split()[1:]).status == 0
    assert sam_engine("release", "build", gated.workspace, "--stage", "assisted_manual", "--no-blur").status == 0


def test_nothing_else_can_be_approved(gated: Store) -> None:
    other = sam_engine("approve", gated.workspace, "fully_automatic")
    assert other.status == 2
    assert "flow.approve asks for assisted_manual, release, not for fully_automatic" in other.err
    assert sam_engine("approve", gated.workspace, "lunch").status == 2
    config = gated.files.config
    config.write(config.text().replace("release", "lunch").encode())
    with pytest.raises(InputError, match=r"flow\.approve\.1: choose one of assisted_manual"):
        gated.files.settings()


def test_a_damaged_approval_is_named(gated: Store) -> None:
    wanted = of_stage(gated.files.settings(), "assisted_manual", "tiny")
    assert wanted is not None
    approve(gated.files, wanted, by="Ann")
    (file,) = (gated.files.root / "approvals").find("*.json")
    file.write(b"[]")
    with pytest.raises(InputError, match=r"assisted_manual-tiny\.json: damaged; delete it and approve again"):
        next_step(gated, "assisted_manual")
