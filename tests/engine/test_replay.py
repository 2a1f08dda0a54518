"""Replay sets: where they are found, what is left out of them, how often they come."""

import json
import shutil
from pathlib import Path

import pytest
from pycocotools import mask as coco_mask

from engine.replay import REPLAY_FILE, WithReplay, read_replay, replay_file, write_replay
from engine.samples import CocoSamples
from model.registry import ModelCard, find_model, list_models, model_roots
from model.storage import save_model
from schemas.content_ids import content_id
from schemas.errors import InputError
from tests.stages.workspaces import tiny_sam, write_pictures


def test_the_model_that_ships_has_one_of_photographs_that_are_installed() -> None:
    file = replay_file(find_model("nano", model_roots()), model_roots())
    assert file is not None
    samples = read_replay(file)
    assert samples is not None
    assert len(samples) == 7
    assert samples[0].image.shape[:2] == samples[0].full_hw


def test_a_model_that_was_trained_from_another_has_its_set(tmp_path: Path) -> None:
    first = save_model(tiny_sam(), tmp_path, ModelCard(name="first"))
    save_model(tiny_sam(), tmp_path, ModelCard(name="second", parent=first))
    save_model(tiny_sam(), tmp_path, ModelCard(name="orphan", parent="0123456789abcdef"))
    roots = [tmp_path]
    by_name = {model.name: model for model in list_models(roots)}
    assert replay_file(by_name["second"], roots) is None
    (tmp_path / "first" / REPLAY_FILE).write_text("{}")
    assert replay_file(by_name["second"], roots) == tmp_path / "first" / REPLAY_FILE
    assert replay_file(by_name["orphan"], roots) is None


def test_pictures_of_the_workspace_stay_out(tmp_path: Path) -> None:
    file = write_pictures(tmp_path / "set", images=3)
    ours = content_id((tmp_path / "set" / "1.png").read_bytes())
    samples = read_replay(file, leave_out=lambda image_id: image_id == ours)
    assert samples is not None
    assert len(samples) == 2
    assert read_replay(file, leave_out=lambda _: True) is None


@pytest.mark.parametrize(("new", "frac"), [(18, 0.4), (2, 0.5), (500, 0.25)])
def test_its_share_of_the_pictures_is_the_one_asked_for(tmp_path: Path, new: int, frac: float) -> None:
    replay = CocoSamples([write_pictures(tmp_path / "set", images=3)])
    learned = CocoSamples([write_pictures(tmp_path / "new", images=2, first_seed=50)])
    both = WithReplay(_Repeated(learned, new), [2.0] * new, replay, frac=frac)
    assert len(both) == len(both.weights) == new + 3
    assert sum(both.weights[new:]) / sum(both.weights) == pytest.approx(frac)
    assert (both[new].image == replay[0].image).all()
    assert (both[new - 1].image == learned[(new - 1) % 2].image).all()


def test_a_set_that_was_kept_is_read_again_scaled_down(tmp_path: Path) -> None:
    samples = CocoSamples([write_pictures(tmp_path / "pictures", images=5)])
    kept = read_replay(write_replay(samples, tmp_path / "model", count=3, longest_px=28))
    assert kept is not None
    assert len(kept) == 3
    (height, width), (full_height, full_width) = kept[0].full_hw, samples[0].full_hw
    assert (height, width) == (round(full_height * 28 / full_width), 28)
    assert kept[0].image.shape[:2] == (height, width)
    assert len(kept[0].masks) == 3
    areas = [coco_mask.area(mask) for mask in kept[0].masks]
    scale = (28 / full_width) ** 2
    of_all = [[coco_mask.area(mask) * scale for mask in samples[at].masks] for at in range(5)]
    assert any(areas == pytest.approx(wanted, rel=0.15) for wanted in of_all)


def test_a_set_of_small_pictures_is_kept_as_it_is(tmp_path: Path) -> None:
    samples = CocoSamples([write_pictures(tmp_path / "pictures", images=2)])
    kept = read_replay(write_replay(samples, tmp_path / "model", count=9, longest_px=1000))
    assert kept is not None
    assert [kept[at].masks for at in range(2)] == [samples[at].masks for at in range(2)]


def test_what_is_wrong_with_a_set_is_said(tmp_path: Path) -> None:
    file = write_pictures(tmp_path / "set", images=1)
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"images_in": {"package": "no_such_package", "folder": "."}}))
    with pytest.raises(InputError, match="its pictures are in the package no_such_package, which is not installed"):
        read_replay(file)
    file.write_text("[")
    with pytest.raises(InputError, match="not a COCO file"):
        read_replay(file)
    shutil.rmtree(tmp_path / "set")


class _Repeated:
    """`count` samples, over and over those of another source."""

    def __init__(self, samples: CocoSamples, count: int) -> None:
        self._samples, self._count = samples, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        return self._samples[index % len(self._samples)]
