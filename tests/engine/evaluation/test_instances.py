"""Instances from a detector's boxes: which detections count, what is told of the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.evaluation.evaluations import Measured, Samples
from engine.evaluation.instances import instances
from model.predictor import Predictor
from model.training.samples import MaskFacts, Sample
from schemas.errors import InputError
from schemas.rle import Rle
from tests.engine.evaluation.fakes import ThreeHalves, coco_rle, rectangle

SQUARE = rectangle(slice(16, 48), slice(16, 48))
BOX = [16, 16, 32, 32]  # XYWH


class Refining(ThreeHalves):
    """Answers a box with half of the square for its best mask, and with the square once it has that mask as prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.refined = 0

    def decode(self, embedding: None, *, masks: Any, **asked: Any) -> Any:
        if masks is not None:
            assert not asked["multimask_output"]
            assert asked["boxes"] is not None
            assert (masks[0, 0] > 0).sum() == 8 * 4, "the half"
            self.refined += len(masks)
        return super().decode(embedding, masks=masks, **asked)


class Squares:
    """Pictures 7 and 8 with a square of category 3 each."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        facts = [MaskFacts(category_id=3)]
        return Sample(np.zeros((64, 64, 3), np.uint8), [coco_rle(SQUARE)], "a.jpg", 7 + index, facts)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(*records: dict[str, Any]) -> Path:
        path = tmp_path / "results.json"
        path.write_text(json.dumps(records))
        return path

    return written


def detection(**fields: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 3, "bbox": BOX, "score": 0.9} | fields


def run(path: Path, model: ThreeHalves | None = None, **settings: Any) -> Measured:
    return instances(Predictor(model or Refining()), Samples(Squares()), boxes=str(path), **settings)


def test_boxes_become_masks_that_are_refined_once(write: Write) -> None:
    path = write(detection(), detection(image_id=8))
    model = Refining()
    measured = run(path, model)
    assert model.refined == 2
    assert measured.masks == 2
    assert measured.values["instances"]["from_boxes"]["ap"] == pytest.approx(1)
    assert measured.rows[0][:2] == ("from boxes", "1.000")
    assert len(measured.rows) == 1
    assert measured.notes == ()
    once = Refining()
    assert run(path, once, refine=False).values["instances"]["from_boxes"]["ap"] < 0.2, "half of it"
    assert once.refined == 0


def test_the_detectors_own_masks_stand_beside(write: Write) -> None:
    half = Rle.of_coco(coco_rle(rectangle(slice(16, 48), slice(16, 40)))).to_coco()
    path = write(detection(segmentation=half), detection(image_id=8, segmentation=half))
    found = run(path).values["instances"]
    assert found["from_boxes"]["ap75"] == pytest.approx(1)
    assert found["own"]["ap50"] == pytest.approx(1)
    assert found["own"]["ap"] == pytest.approx(0.6), "an IoU of .75 passes .50 to .75"


def test_detections_of_other_pictures_are_counted_and_named(write: Write) -> None:
    measured = run(write(detection(), detection(image_id=99), detection(image_id=100)))
    assert measured.values["unknown_detections"] == 2
    (note,) = measured.notes
    assert note.endswith("results.json: on no picture of the ground truth: detections: 2, image ids: 2: 100, 99")
    with pytest.raises(
        InputError, match=r"no detection is on a picture .*detections: 2, image ids: 2: 100, 99\); give"
    ):
        run(write(detection(image_id=99), detection(image_id=100)))


def test_detections_that_mean_nothing_are_counted_and_told(write: Write) -> None:
    broken = [
        detection(bbox=[1, 2, 3]),
        detection(bbox=[90, 90, 5, 5]),
        detection(score="high"),
        detection(category_id=None),
    ]
    measured = run(write(detection(), *broken))
    assert measured.values["detections"] == 1
    assert measured.values["problems"] == 4
    (note,) = measured.notes
    for said in ("detections without a mask: 4", "expected 4 numbers", "outside", "must be a number", "no category_id"):
        assert said in note


def test_categories_that_no_object_has_are_told(write: Write) -> None:
    path = write(detection(category_id=5), detection(image_id=8, category_id=6))
    measured = run(path)
    assert measured.values["instances"]["from_boxes"]["ap"] == 0
    assert "no object has the categories 5, 6; --set categories=false" in measured.notes[0]
    measured = run(path, categories=False)
    assert measured.values["instances"]["from_boxes"]["ap"] == pytest.approx(1)
    assert measured.notes == ()


def test_without_boxes_there_is_nothing_to_do() -> None:
    with pytest.raises(InputError, match=r"--set boxes=RESULTS\.json"):
        instances(Predictor(ThreeHalves()), Samples(Squares()))
