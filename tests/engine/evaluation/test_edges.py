"""Edges as an evaluation: rows, settings, sheets; and nano beside Canny on photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.evaluation.edges import edges
from engine.evaluation.evaluations import Samples
from model.predictor import Predictor
from model.training.samples import MaskFacts, Sample
from schemas.errors import InputError
from tests.engine.evaluation.fakes import ThreeHalves, coco_rle, rectangle

SQUARE = rectangle(slice(64, 192), slice(64, 192), (256, 256))


class Square:
    """Two pictures of a white square, which two people cut from the rest, and one that nobody cut."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        image = np.repeat(np.where(SQUARE, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
        masks = [coco_rle(mask) for mask in (SQUARE, ~SQUARE)] * 2
        facts = [MaskFacts(annotator) for annotator in ("1", "1", "2", "2")]
        return Sample(image, [], "none.jpg") if index == 2 else Sample(image, masks, f"{index}.jpg", index, facts)


def test_model_canny_and_sobel_are_counted_on_the_same_pictures() -> None:
    measured = edges(Predictor(ThreeHalves()), Samples(Square()), points_per_side=2)
    assert measured.masks == 8
    assert measured.values["pictures"] == 2
    found = measured.values["edges"]
    assert list(found) == [row[0] for row in measured.rows] == ["model", "canny", "sobel"]
    assert found["canny"]["ods"] > 0.95
    assert found["sobel"]["ods"] > 0.95
    assert found["model"]["recall"] > 0.9
    assert found["model"]["precision"] < 0.95, "the half square has an edge that nobody drew"
    low, high = found["canny"]["model_better_by"]
    assert low <= high < 0


def test_pictures_are_drawn_and_settings_taken(tmp_path: Path) -> None:
    folder = tmp_path / "sheets"
    measured = edges(
        Predictor(ThreeHalves()), Samples(Square()), points_per_side=1, baselines=False, first=1, pictures=str(folder)
    )
    assert [row[0] for row in measured.rows] == ["model"]
    assert measured.values["pictures"] == 1
    (file,) = folder.iterdir()
    assert file.name == "0000-0.png"
    assert Image.open(file).width > 3 * 400


@pytest.mark.parametrize("wrong", [{"points_per_side": 0}, {"first": -1}])
def test_settings_that_cannot_be_are_errors(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="a grid has points"):
        edges(Predictor(ThreeHalves()), Samples(Square()), **wrong)
