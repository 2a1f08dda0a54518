"""`sam-engine labeling` where something is missing; with a real Label Studio it is tried in tests/labelstudio."""

from pathlib import Path

import pytest
import yaml

from engine.annotation import Check, Link
from engine.labeling.tool import LabelStudioTool
from engine.store import Store
from flows.commands import labeling
from schemas.config import CONFIG_FILE
from schemas.errors import InputError
from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import SETTINGS, make_workspace

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A workspace that names a Label Studio where none is."""
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    made = make_workspace(tmp_path, images=3, holdout=0)
    settings = SETTINGS | {"annotator": {"kind": "label_studio"}, "labeling": {"url": "http://127.0.0.1:9"}}
    (made.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings))
    return made


@pytest.mark.parametrize("command", [["setup"], ["doctor"], ["sync"]])
def test_without_a_token_the_ways_to_one_are_named(store: Store, command: list[str]) -> None:
    sam_engine("run", "assisted_manual", store.workspace)
    done = sam_engine("labeling", *command, store.workspace)
    assert done.status == 2
    assert "LABEL_STUDIO_API_KEY" in done.err
    assert "sam-engine labeling server" in done.err


def test_the_doctor_names_the_first_thing_that_is_wrong(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret-token")
    done = sam_engine("labeling", "doctor", store.workspace, "--json")
    assert done.status == 1
    (check,) = done.result["checks"]
    assert check["check"] == "url"
    assert "http://127.0.0.1:9 does not answer" in check["remedy"]
    assert "secret-token" not in done.out + done.err


def test_a_watching_doctor_says_a_line_for_each_change(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["token is wrong"]
    found = [again, again, [""], ["", "no project"], InputError("no such file"), KeyboardInterrupt()]

    def look(self: LabelStudioTool, purpose: str) -> list[Check]:
        remedies = found.pop(0)
        if not isinstance(remedies, list):
            raise remedies
        return [Check(f"check {number}", remedy) for number, remedy in enumerate(remedies)]

    monkeypatch.setattr(LabelStudioTool, "doctor", look)
    monkeypatch.setattr(labeling, "_WATCH_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        labeling.doctor(str(store.workspace), watch=True)
    lines = [line.partition("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "WRONG  check 0  token is wrong",
        "ok     all that annotators need is there",
        "WRONG  check 1  no project",
        "WRONG  no such file",
    ]


def test_a_tick_without_the_server_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret-token")
    assert sam_engine("run", "assisted_manual", store.workspace).status == 0
    before = store.versions()
    done = sam_engine("run", "assisted_manual", store.workspace)
    assert done.status == 1
    assert "does not answer" in done.err
    assert store.versions() == before


@pytest.mark.parametrize(
    ("options", "made"), [([], ["exhaustivity"]), (["--gates"], ["verification", "exhaustivity", "audit"])]
)
def test_gates_of_the_settings_get_their_projects(
    store: Store, monkeypatch: pytest.MonkeyPatch, options: list[str], made: list[str]
) -> None:
    """Else a round would stop at its first gate, days later."""
    settings = yaml.safe_load((store.workspace / CONFIG_FILE).read_text()) | {"gates": {"exhaustivity": "sample"}}
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(LabelStudioTool, "setup", lambda self, purpose: Link(purpose, "http://there", (), 1))
    done = sam_engine("labeling", "setup", store.workspace, *options, "--json")
    assert list(done.result) == ["assisted_manual", "semi_automatic", *made]


def test_one_sync_is_one_step_and_says_how_to_go_on(store: Store) -> None:
    done = sam_engine("labeling", "sync", store.workspace)
    assert (
        done.out
        == "assisted_manual: round 1 is open: 1 image, model tiny; run it again for the next step, or with --watch\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["setup", "WORK", "--stage", "fully_automatic"], "has no annotators"),
        (["gate", "taste", "WORK"], "verification, exhaustivity, audit"),
        (["gate", "audit", "WORK"], "no such round is annotated yet"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(store: Store, arguments: list[str], says: str) -> None:
    done = sam_engine("labeling", *(store.workspace if part == "WORK" else part for part in arguments))
    assert done.status in (1, 2)
    assert says in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
