"""What each training of an ablation learns from, and that none is done twice."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.keys import content_key
from engine.places import place
from engine.replay import WithReplay
from engine.store import Store
from model.registry import find_model
from model.sam import Sam
from model.storage import load_model
from schemas.ablation import Ablation
from schemas.errors import InputError, WaitError
from schemas.suite import SuiteSet
from stages import ablation_training
from stages.ablation_plan import Training, weights_of
from stages.ablation_training import SNAPSHOT_FILE, AblationTrainer
from tests.stages.test_step_rates import a_report
from tests.stages.workspaces import make_workspace, write_pictures

ALL = ("assisted_manual", "semi_automatic", "fully_automatic")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(tmp_path / "work", through=ALL)


def trainer(store: Store, tmp_path: Path, **keys: Any) -> AblationTrainer:
    keys = {"start": "tiny", "steps": 2, "settings": {"lr": 1e-4}} | keys
    ablation = Ablation(sets={"a": SuiteSet(coco=("a.json",))}, output=str(tmp_path / "out"), **keys)
    return AblationTrainer(store, ablation)


def of(mix: Any, **keys: Any) -> Training:
    return Training("tiny", weights_of(mix, 10.0), **keys)


class Watched:
    """Stands in for `train`: it moves one weight, and remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, sam: Sam, source: Any, config: Any, **options: Any) -> list[Any]:
        self.calls.append(options | {"source": source, "config": config})
        with torch.no_grad():
            sam.mask_decoder.iou_token.weight.fill_(float(len(self.calls)))
        options["on_step"](a_report())
        return [a_report()]


@pytest.fixture
def old_pictures(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "old", images=2, first_seed=50)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    found = Watched()
    monkeypatch.setattr(ablation_training, "train", found)
    return found


def test_a_mix_has_the_masks_of_its_stages_and_no_picture_that_is_held_out(store: Store, tmp_path: Path) -> None:
    trains = trainer(store, tmp_path)
    held_out = set(store.image_index().ids[store.image_index().held_out].tolist())
    for mix, stages in (("manual", ALL[:1]), ("semi", ALL[:2]), ("automatic", ALL), ("automatic_only", ALL[2:])):
        found = trains.trained_on(of(mix))
        masks = sum(
            sum(image_id not in held_out for image_id in store.read_table(stage)["image_id"].to_pylist())
            for stage in stages
        )
        assert found.masks == masks
        assert set(found.weights) == {1.0}
    oversampled = trains.trained_on(of("oversampled"))
    by_stage = dict(zip(oversampled.source.stages, oversampled.weights, strict=True))  # type: ignore[union-attr]
    assert by_stage == {"assisted_manual": 10, "semi_automatic": 10, "fully_automatic": 1}


def test_larger_shares_hold_the_smaller_and_each_seed_draws_its_own(store: Store, tmp_path: Path) -> None:
    trains = trainer(store, tmp_path)

    def pictures(data: float, seed: int = 0) -> set[int]:
        found = trains.trained_on(of("automatic_only", data=data, seed=seed))
        assert found.images == len(set(found.source.image_ids))
        return set(found.source.image_ids)

    one, two, every = pictures(0.01), pictures(0.4), pictures(1.0)
    assert (len(one), len(two)) == (1, 2)
    assert one < two < every
    assert len({tuple(pictures(0.4, seed)) for seed in range(4)}) > 1


def test_a_model_is_trained_once_and_says_what_it_is_made_of(store: Store, tmp_path: Path, watched: Watched) -> None:
    trains = trainer(store, tmp_path)
    assert trains.found(of("manual")) is None
    info = trains.train(of("manual"))
    assert len(watched.calls) == 1
    assert trains.train(of("manual")) == trains.found(of("manual")) == info
    assert len(watched.calls) == 1
    assert trainer(store, tmp_path).found(of("manual")) == info  # another process
    assert info.card.parent == find_model("tiny", store.files.model_roots()).model_id
    assert info.card.trained_on["versions"].keys() == {"images", "assisted_manual"}
    assert info.card.metrics["loss"] == a_report().loss
    token = load_model(info.folder, [])[0].mask_decoder.iou_token.weight
    assert bool((token == 1.0).all())
    (call,) = watched.calls
    assert (call["config"].steps, call["config"].lr, call["config"].seed) == (2, 1e-4, 0)
    assert call["config"].loader_workers == 0
    assert call["data"] == info.name
    others = [of("semi"), of("manual", seed=1), of("manual", data=0.4)]
    names = {info.name, *(trains.train(each).name for each in others)}
    assert len(names) == 4
    other_recipe = trainer(store, tmp_path, settings={"lr": 2e-4})
    assert other_recipe.found(of("manual")) is None


def test_old_pictures_are_replayed_where_the_start_model_has_some(
    store: Store, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch, old_pictures: Path
) -> None:
    monkeypatch.setattr(ablation_training, "replay_file", lambda *_: old_pictures)
    plain = trainer(store, tmp_path, replay_frac=0)
    plain.train(of("manual"))
    with_old = trainer(store, tmp_path, replay_frac=0.5)
    assert with_old.found(of("manual")) is None
    with_old.train(of("manual"))
    first, second = (call["source"] for call in watched.calls)
    assert not isinstance(first, WithReplay)
    assert isinstance(second, WithReplay)
    assert len(second) == len(first) + 2
    assert sum(second.weights[-2:]) == pytest.approx(sum(second.weights[:-2]))


@pytest.mark.usefixtures("watched")
def test_the_masks_stay_those_of_the_beginning(store: Store, tmp_path: Path) -> None:
    begun = trainer(store, tmp_path)
    before = begun.trained_on(of("manual"))
    assert not (tmp_path / "out").exists()
    begun.train(of("semi"))
    shard = store.shards("assisted_manual")[0]
    none = store.read_shard("assisted_manual", shard).slice(0, 0)
    assert store.replace_shard("assisted_manual", shard, none, round=1, key=content_key("nothing"))
    after = trainer(store, tmp_path).trained_on(of("manual"))
    assert (after.lineage, after.masks) == (before.lineage, before.masks)
    (tmp_path / "out" / SNAPSHOT_FILE).unlink()
    assert trainer(store, tmp_path).trained_on(of("manual")).masks < before.masks


def test_two_processes_do_not_train_at_once(store: Store, tmp_path: Path, watched: Watched) -> None:
    (tmp_path / "out").mkdir()
    with place(tmp_path / "out" / ".lock").only_one(busy=""):
        with pytest.raises(WaitError, match="another process trains for this ablation"):
            trainer(store, tmp_path).train(of("manual"))
        assert watched.calls == []
    assert trainer(store, tmp_path).train(of("manual")).name.startswith("ablation-")


def test_an_output_of_another_workspace_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SNAPSHOT_FILE).write_text(json.dumps({"workspace": "/elsewhere", "versions": {}}))
    with pytest.raises(InputError, match="an ablation of the workspace /elsewhere; choose another output"):
        trainer(store, tmp_path).found(of("manual"))


def test_what_cannot_be_trained_is_one_line(tmp_path: Path) -> None:
    early = make_workspace(tmp_path / "early", through=ALL[:1])
    trains = trainer(early, tmp_path)
    assert trains.found(of("manual")) is None
    with pytest.raises(InputError, match=r"no masks of semi_automatic to learn from; make some with: sam-engine run"):
        trains.found(of("semi"))
    with pytest.raises(InputError, match=r"no round of fully_automatic yet.*or leave points out"):
        trains.found(of("automatic_only", points_per_side=3))
    with pytest.raises(InputError, match="no model 'huge'"):
        trains.found(Training("huge", weights_of("manual", 1)))
    wrong = trainer(early, tmp_path, settings={"learning_rate": 1})
    with pytest.raises(InputError, match=r"settings of the ablation: learning_rate: no such setting"):
        wrong.found(of("manual"))
    wrong = trainer(early, tmp_path, settings={"lr": -1})
    with pytest.raises(InputError, match=r"settings of the ablation: lr: .* greater than 0"):
        wrong.found(of("manual"))
    with pytest.raises(InputError, match="unknown training preset 'fast'"):
        trainer(early, tmp_path, preset="fast").found(of("manual"))
