"""Prompts of words: known and new ones, alone and beside points."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from model.registry import builtin_models_root, read_info
from model.text_encoders import TEXT_ENCODERS
from model.text_head import TEXT_HEAD_FOLDER, SavedHead, TextHead, TextHeadConfig, load_text_head, save_text_head
from model.text_prompts import FoundText, TextPrompter, encoder_of, text_prompter, usual_text
from schemas.errors import InputError
from tests.stages.workspaces import shapes, tiny_sam

WORDS = {"car": torch.eye(5)[0], "tree": torch.eye(5)[1]}


class Letters:
    """Embeds a text by its first letter."""

    key = "aaaabbbbccccdddd"

    def __init__(self, weights: Path | None = None) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return torch.eye(5)[[ord(text[0]) % 5 for text in texts]]


def saved() -> SavedHead:
    torch.manual_seed(0)
    head = TextHead(TextHeadConfig(text_dim=5, width=16)).eval()
    return SavedHead(head, WORDS, {"encoder": "letters", "encoder_key": Letters.key})


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def predictor(letters: Letters) -> Predictor:
    found = Predictor(tiny_sam(), text=TextPrompter(saved, lambda head: letters))
    found.set_image(shapes(0)[0])
    return found


def test_known_texts_need_no_encoder_and_new_ones_one_call(predictor: Predictor, letters: Letters) -> None:
    predictor.find_texts(["car", "  Tree "])
    assert letters.asked == []
    predictor.find_texts(["boat", "car", "Boat", "plane"])
    predictor.find_texts(["boat"])
    assert letters.asked == ["boat", "plane"]


def test_a_text_gives_one_mask_of_the_picture(predictor: Predictor) -> None:
    masks, iou, low_res = predictor.predict(text="car")
    height, width = predictor.image_hw
    assert (masks.shape, iou.shape, low_res.shape) == ((1, height, width), (1,), (1, 16, 16))
    found = predictor.find_texts(["car", "tree"])
    again = predictor.unite(found)
    assert torch.allclose(again.logits[0], torch.from_numpy(low_res), atol=1e-4)
    assert float(again.predicted_iou[0, 0]) == pytest.approx(float(iou[0]), abs=1e-4)
    other = shapes(1)[0]
    predictor.set_image(other)
    assert not np.array_equal(predictor.predict(text="car")[2], low_res), "masks of the picture before are forgotten"


def square(top: int, left: int, side: int) -> Tensor:
    """Logits (12, 12) of a mask."""
    logits = torch.full((12, 12), -6.0)
    logits[top : top + side, left : left + side] = 5.0
    return logits


def test_masks_unite_that_together_are_the_text() -> None:
    # of two objects one mask is good, the other is there in part and with too much around
    text = torch.full((1, 12, 12), -3.0)
    text[0, 1:5, 1:5] = text[0, 7:11, 7:11] = 2.0
    masks = torch.stack([square(1, 1, 4), square(7, 7, 2), square(6, 6, 6), square(0, 0, 12), square(1, 1, 2)])
    found = FoundText(text, torch.tensor([0.5]))
    united = found.united(masks)
    # 36 pixels of the third, 16 of them its, are worth 16 * 3 - 20 * 2: less than 2 * 2 of the second and not more
    expected = torch.maximum(torch.maximum(masks[0], masks[1]), torch.full((12, 12), -6.0))
    assert torch.equal(united.logits[0, 0], expected)
    assert float(united.predicted_iou) == pytest.approx(0.5 * float(torch.tensor(3.0).sigmoid()))


def test_a_text_that_no_mask_fits_keeps_its_own_coarse_mask() -> None:
    text = torch.full((1, 12, 12), -3.0)
    text[0, 3, 3] = 2.0
    united = FoundText(text, torch.ones(1)).united(torch.stack([square(0, 0, 12)]))
    assert torch.equal(united.logits[0, 0], text[0])


def test_padding_belongs_to_no_text(predictor: Predictor) -> None:
    found = predictor.find_texts(["car", "tree"])
    height, width = (-(-side // 4) for side in predictor.input_hw)
    assert (width, height) == (16, 14)
    assert (found.logits[:, height:] == -20).all()
    assert (found.logits[:, :height] > -20).all()
    assert ((found.is_there > 0) & (found.is_there < 1)).all()


def test_of_the_masks_of_a_point_the_one_that_fits_the_text_best() -> None:
    logits = torch.full((1, 4, 4), -2.0)
    logits[0, :, :2] = 2.0  # the text is on the left
    masks = torch.full((1, 3, 4, 4), -1.0)
    masks[0, 0] = 1.0  # everything: half of it, at 0.9
    masks[0, 1, :, :2] = 1.0  # it, at 0.7
    masks[0, 2, 0, 2:] = 1.0  # none of it, at 0.95
    best = FoundText(logits, torch.ones(1)).best(MaskPrediction(masks, torch.tensor([[0.9, 0.7, 0.95]])))
    assert torch.equal(best.logits[0, 0], masks[0, 1])
    assert float(best.predicted_iou) == pytest.approx(0.7 * float(torch.tensor(3.0).sigmoid()))
    sure = FoundText(logits, torch.ones(1)).best(MaskPrediction(masks, torch.tensor([[0.9, 0.5, 0.2]])))
    assert torch.equal(sure.logits[0, 0], masks[0, 0]), "the model's own opinion counts too"


def test_points_and_boxes_beside_a_text(predictor: Predictor) -> None:
    three = predictor.predict_low_res([[(20, 20)]], [[1]])
    one = predictor.predict_texts(["car"], [[(20, 20)]], [[1]])
    assert one.logits.shape == (1, 1, 16, 16)
    assert any(torch.equal(one.logits[0, 0], three.logits[0, row]) for row in range(3))
    ragged = predictor.predict_texts(["car", "tree"], [[(20, 20)], [(20, 20), (5, 5)]], [[1], [1, 0]])
    assert ragged.logits.shape == (2, 1, 16, 16)
    assert predictor.predict(text="car", box=(4, 4, 30, 30))[0].shape[0] == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"text": " "}, "text: it is empty; say what to look for, as in: car"),
        ({"text": "car " * 300}, "text: 1199 characters, at most 1000 can be read"),
        ({"text": "car", "mask_input": np.zeros((1, 16, 16))}, "text: goes with points or a box, not with mask_input"),
    ],
)
def test_bad_texts_are_one_line(predictor: Predictor, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        predictor.predict(**asked)
    assert str(error.value) == said


def test_counts_of_texts_and_points_have_to_be_the_same(predictor: Predictor) -> None:
    with pytest.raises(InputError, match="different numbers of prompts: 2 for texts, 1 for points"):
        predictor.predict_texts(["car", "tree"], [[(20, 20)]], [[1]])
    with pytest.raises(InputError, match="text: there is none"):
        predictor.predict_texts([])


def test_a_model_without_a_head_says_how_to_get_one() -> None:
    predictor = Predictor(tiny_sam())
    predictor.set_image(shapes(0)[0])
    with pytest.raises(InputError, match=r"no text head; use the model nano, or train one with: sam-engine train-text"):
        predictor.predict(text="car")


def test_an_encoder_that_is_missing_or_another_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_ENCODERS._loaded, "letters", Letters)
    monkeypatch.setattr(type(TEXT_ENCODERS), "_foreign", lambda self: {})
    assert isinstance(encoder_of(saved()), Letters)
    other = SavedHead(saved().head, WORDS, {"encoder": "letters", "encoder_key": "0" * 16})
    with pytest.raises(InputError, match=r"its weights \(aaaabbbbccccdddd\) are not those .* \(0000000000000000\)"):
        encoder_of(other)
    with pytest.raises(InputError, match=r"are not those .*; without it these texts are known: car, tree"):
        TextPrompter(lambda: other).embed(["boat"])


def test_a_head_beside_a_model_is_found(tmp_path: Path) -> None:
    assert text_prompter(tmp_path) is None
    save_text_head(saved().head, WORDS, tmp_path / TEXT_HEAD_FOLDER, {"encoder": "minilm", "encoder_key": ""})
    prompter = text_prompter(tmp_path)
    assert prompter is not None
    assert prompter.words == ["car", "tree"]
    assert torch.equal(prompter.embed(["CAR"])[0], WORDS["car"])


def test_texts_are_looked_up_in_lower_case_with_single_spaces() -> None:
    assert usual_text("  Traffic \n Light ") == "traffic light"


def test_the_head_that_ships_belongs_to_the_model_that_ships() -> None:
    folder = builtin_models_root() / "nano"
    prompter = text_prompter(folder)
    assert prompter is not None
    found = load_text_head(folder / TEXT_HEAD_FOLDER)
    assert found.card["model_id"] == read_info(folder).model_id
    assert sum(file.stat().st_size for file in (folder / TEXT_HEAD_FOLDER).iterdir()) < 2_000_000
    assert {"car", "window", "person", "dress"} <= set(prompter.words)
    assert torch.allclose(prompter.embed(["car"]).norm(), torch.ones(1), atol=0.01)
