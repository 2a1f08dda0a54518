"""A whole ablation of a tiny workspace: trained once, measured once, gone on with, and refused where it must be."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.store import Store
from schemas.ablation import Ablation
from schemas.errors import InputError
from schemas.suite import SuiteSet
from stages import ablation_training
from stages.ablation import AblationRun, check_not_learned
from tests.stages.workspaces import make_workspace, write_pictures

ALL = ("assisted_manual", "semi_automatic", "fully_automatic")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(tmp_path / "work", through=ALL)


@pytest.fixture
def others(tmp_path: Path) -> SuiteSet:
    return SuiteSet(coco=(str(write_pictures(tmp_path / "others", images=2, first_seed=30)),), max_masks=4)


def asked(tmp_path: Path, sets: dict[str, SuiteSet], **keys: Any) -> Ablation:
    keys = {
        "start": "tiny",
        "steps": 1,
        "settings": {"phases": [{"until": 1, "batch_size": 1, "masks_per_image": 1, "correction_points": 0}]},
        "clicks": (1, 2),
    } | keys
    return Ablation(sets=sets, output=str(tmp_path / "out"), **keys)


def test_an_ablation_from_its_plan_to_its_page(
    store: Store, others: SuiteSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = {"others": others, "gone": SuiteSet(coco=("gone.json",))}
    ablation = asked(tmp_path, sets, experiments=("stages", "data", "points"), data=(0.2,), points_per_side=(2,))
    run = AblationRun(store, ablation)
    assert run.done() == [False] * 7  # five of stages, one share, one grid
    with pytest.raises(InputError, match="not all models are trained yet"):
        _ = run.suite
    for number in range(3):
        run.train(number)
    going_on = AblationRun(store, ablation)
    assert going_on.done() == [True] * 3 + [False] * 4
    for number in range(7):
        going_on.train(number)
    told: list[str] = []
    values = going_on.report(going_on.measure(tell=told.append))
    assert [line.split(":")[0] for line in told] == ["gone"]
    out = tmp_path / "out"
    assert json.loads((out / "ablation.json").read_text()) == values
    assert (out / "ablation.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "ablation.md").read_text()
    assert "annotated by the simulated annotator, no people" in page
    assert "recipe retrain, 1 step, seed 0; 7 trainings." in page
    assert "- gone: left out: " in page
    stages = values["experiments"]["stages"]
    assert [point["label"] for point in stages["points"]][:2] == ["start model", "manual"]
    assert stages["points"][0]["models"] == ["tiny"]
    assert values["experiments"]["data"]["points"][0]["images"] == 1
    (grid,) = values["experiments"]["points"]["points"]
    assert (grid["label"], grid["images"]) == ("2", 5)
    monkeypatch.setattr(ablation_training, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr("engine.evaluation.peers.load_model", lambda *_, **__: pytest.fail("measured again"))
    again = AblationRun(store, ablation)
    for number in range(7):
        again.train(number)
    assert again.report(again.measure(tell=told.append)) == values


def test_without_any_set_nothing_is_written(store: Store, tmp_path: Path) -> None:
    run = AblationRun(store, asked(tmp_path, {"gone": SuiteSet(coco=("gone.json",))}, experiments=("encoder",)))
    run.train(0)
    with pytest.raises(InputError, match=r"no set could be measured: .*gone.json"):
        run.report(run.measure(tell=lambda line: None))
    assert not (tmp_path / "out" / "ablation.md").exists()


def test_pictures_that_are_learned_from_are_refused(store: Store, tmp_path: Path) -> None:
    pictures = tmp_path / "work" / "pictures"
    mine = SuiteSet(coco=(str(pictures / "masks.json"),))
    with pytest.raises(InputError, match=r"sets.mine: 5 of its pictures are learned from .*hold|held out"):
        AblationRun(store, asked(tmp_path, {"mine": mine}))
    content = json.loads((pictures / "masks.json").read_text())
    content["images"] = [image for image in content["images"] if image["split"] == "holdout"]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] == content["images"][0]["id"]]
    (pictures / "held_out.json").write_text(json.dumps(content))
    check_not_learned(store, {"held out": SuiteSet(coco=(str(pictures / "held_out.json"),))})
