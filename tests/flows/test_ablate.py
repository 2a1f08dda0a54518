"""`sam-engine ablate`, and the flow of the same."""

from pathlib import Path

import pytest

from engine.store import Store
from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import make_workspace, write_pictures

ALL = ("assisted_manual", "semi_automatic", "fully_automatic")
SMALL = (
    "settings: {phases: [{until: 1, batch_size: 1, masks_per_image: 1, correction_points: 0}]}\n"
    "start: tiny\nsteps: 1\nclicks: 1\n"
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    write_pictures(tmp_path / "others", images=2, first_seed=30)
    return make_workspace(tmp_path / "work", through=ALL[:1])


def written(tmp_path: Path, more: str = "experiments: data\nmix: manual\ndata: [0.5, 1]\n", sets: str = "") -> Path:
    file = tmp_path / "ablation.yaml"
    file.write_text(f"sets:\n  others: {{coco: others/masks.json, max_masks: 3}}\n{sets}output: out\n{SMALL}{more}")
    return file


def test_a_plan_trains_nothing_and_the_command_goes_on(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path)
    plan = sam_engine("ablate", store.workspace, file, "--dry-run", "--json")
    assert plan.status == 0, plan.err
    points = [{"point": label, "trainings": 1, "done": 0} for label in ("0.5", "1")]
    assert plan.result == {"trainings": 2, "done": 0, "steps": 1, "experiments": {"data": points}}
    assert not (tmp_path / "out").exists()
    done = sam_engine("ablate", store.workspace, file, "--json")
    assert done.status == 0, done.err
    assert [point["images"] for point in done.result["experiments"]["data"]["points"]] == [2, 4]
    assert "2 trainings of 1 step, 0 of them done" in done.err
    shown = sam_engine("ablate", store.workspace, file, "--dry-run")
    assert "2 different trainings of 1 step, 2 of them done" in shown.out
    again = sam_engine("ablate", store.workspace, file)
    assert again.out == f"Written to {tmp_path / 'out'}: ablation.md, ablation.json, ablation.png\n"
    assert "2 of them done" in again.err


def test_a_set_that_is_missing_is_named_and_the_rest_is_done(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, sets="  gone: {coco: gone.json}\n")
    done = sam_engine("ablate", store.workspace, file, "--json")
    assert done.status == 1
    assert list(done.result["left_out"]) == ["gone"]
    assert done.err.splitlines()[-1] == "error: 1 of 2 sets left out: gone"
    assert (tmp_path / "out" / "ablation.md").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("experiments: [data, depth]\n", "experiments.1: input should be 'stages'"),
        ("experiments: stages\n", "no masks of semi_automatic to learn from; make some with: sam-engine run"),
        ("experiments: points\n", "no round of fully_automatic yet"),
        ("experiments: encoder\nmix: manual\nencoders: [tiny, huge]\n", "no model 'huge'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(store: Store, tmp_path: Path, more: str, says: str) -> None:
    done = sam_engine("ablate", store.workspace, written(tmp_path, more))
    assert done.status == 2
    (line,) = (line for line in done.err.splitlines() if line.startswith("error: "))
    assert says in line
    assert not (tmp_path / "out" / "models").exists()


def test_a_file_that_is_missing_is_one_line(store: Store, tmp_path: Path) -> None:
    done = sam_engine("ablate", store.workspace, tmp_path / "none.yaml")
    assert done.status == 2
    assert "none.yaml: cannot be read: No such file or directory" in done.err


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_trains_each_once_and_ends_as_failed_for_what_a_user_has_to_mend(store: Store, tmp_path: Path) -> None:
    from flows.ablation import ablation

    file = written(tmp_path)
    found = ablation(str(store.workspace), str(file))
    assert found == {"output": str(tmp_path / "out"), "models": 2, "left_out": {}}
    assert (tmp_path / "out" / "ablation.png").exists()
    state = ablation(str(store.workspace), "", return_state=True)
    assert state.is_failed()
    assert "parameter file: name the YAML" in str(state.message)
