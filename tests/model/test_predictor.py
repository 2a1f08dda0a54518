"""The predictor with a model that notes what it is asked, and with a small real one."""

from typing import Any

import numpy as np
import pytest
import torch

from model.contract import HalfTrial
from model.folded_decoder import BESIDE
from model.predictor import Predictor
from model.sam import Sam
from model.upscaling import Upscaling
from schemas.errors import InputError
from tests.model.small_models import NotingModel, photo, small_sam


@pytest.fixture
def model() -> NotingModel:
    return NotingModel()


@pytest.fixture
def predictor(model: NotingModel) -> Predictor:
    """With a picture 100 wide and 50 high, which the model sees as 64 by 32."""
    predictor = Predictor(model)
    predictor.set_image(photo(50, 100))
    return predictor


@pytest.fixture(scope="module")
def real() -> Predictor:
    """With a picture 100 wide and 50 high."""
    predictor = Predictor(small_sam())
    predictor.set_image(photo(50, 100))
    return predictor


def test_points_and_boxes_are_scaled_to_the_input(predictor: Predictor, model: NotingModel) -> None:
    predictor.predict_low_res([[[10.0, 20.0], [100.0, 0.0]]], [[1, 0]], boxes=[[0.0, 25.0, 50.0, 50.0]])
    points, labels = model.decoded[-1]["points"]
    torch.testing.assert_close(points, torch.tensor([[[6.4, 12.8], [64.0, 0.0]]]))
    assert labels.tolist() == [[1, 0]]
    torch.testing.assert_close(model.decoded[-1]["boxes"], torch.tensor([[0.0, 16.0, 32.0, 32.0]]))


def test_each_axis_has_its_own_scale(model: NotingModel) -> None:
    predictor = Predictor(model)
    predictor.set_image(photo(3, 100))  # 1.92 input rows become 2
    predictor.predict_low_res([[[50.0, 1.5]]], [[1]])
    torch.testing.assert_close(model.decoded[-1]["points"][0], torch.tensor([[[32.0, 1.0]]]))


def test_clicks_reuse_the_embedding(predictor: Predictor, model: NotingModel) -> None:
    for x in range(3):
        predictor.predict([[x, 0]], [1])
    assert len(model.encoded) == 1
    assert [call["embedding"] for call in model.decoded] == [1, 1, 1]


def test_prediction_at_the_size_of_the_picture(predictor: Predictor) -> None:
    masks, predicted_iou, logits = predictor.predict([[10, 20]], [1])
    assert (masks.dtype, masks.shape) == (bool, (3, 50, 100))
    assert predicted_iou.tolist() == [0.5, 0.5, 0.5]
    assert logits.shape == (3, 16, 16)
    assert masks[:, :, 51:].all()
    assert not masks[:, :, :49].any()


def test_one_mask_and_its_logits(predictor: Predictor) -> None:
    logits, *_ = predictor.predict(box=[0, 0, 9, 9], multimask_output=False, return_logits=True)
    assert (logits.dtype, logits.shape) == (np.float32, (1, 50, 100))
    assert logits.min() == pytest.approx(-1.0)


def test_mask_inputs_pass_unchanged(predictor: Predictor, model: NotingModel) -> None:
    *_, logits = predictor.predict([[10, 20]], [1])
    predictor.predict(mask_input=logits[:1])
    assert torch.equal(model.decoded[-1]["masks"], torch.from_numpy(logits[None, :1]))
    assert model.decoded[-1]["points"] is None


def test_tensors_arrays_and_lists_are_the_same_prompt(real: Predictor) -> None:
    as_list = real.predict_low_res([[[10, 20]]], [[1]])
    as_array = real.predict_low_res(np.array([[[10, 20]]]), np.array([[1]], dtype=bool))
    as_tensor = real.predict_low_res(torch.tensor([[[10.0, 20.0]]]), torch.tensor([[1]]))
    assert torch.equal(as_list.logits, as_array.logits)
    assert torch.equal(as_list.logits, as_tensor.logits)


def test_prompts_with_different_numbers_of_points_give_what_they_give_alone(real: Predictor) -> None:
    points = [[[10, 20]], [[30, 5], [70, 40], [1, 1]], [[99, 49]], [[5, 5], [6, 7]]]
    labels = [[1], [1, 0, 1], [0], [1, 1]]
    together = real.predict_low_res(points, labels)
    for row, (prompt, kinds) in enumerate(zip(points, labels, strict=True)):
        alone = real.predict_low_res([prompt], [kinds])
        # Another batch size and number of threads sum in another order: fp32 rounding, relative to logits above 1.
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.predicted_iou[row], alone.predicted_iou[0], rtol=0, atol=1e-5)


def test_boxes_with_and_without_points(real: Predictor) -> None:
    boxes = [[0, 0, 50, 40], [10, 10, 90, 45], [5, 5, 6, 6]]
    together = real.predict_low_res([[], [[30, 20]], []], [[], [1], []], boxes=boxes, multimask_output=False)
    box_alone = real.predict_low_res(None, None, boxes=boxes[2:], multimask_output=False)
    torch.testing.assert_close(together.logits[2], box_alone.logits[0], rtol=0, atol=1e-5)
    both = real.predict_low_res([[[30, 20]]], [[1]], boxes=boxes[1:2], multimask_output=False)
    torch.testing.assert_close(together.logits[1], both.logits[0], rtol=0, atol=1e-5)


def test_prediction_leaves_no_gradients(real: Predictor) -> None:
    assert not real.predict_low_res([[[10, 20]]], [[1]]).logits.requires_grad


POINT, LABEL = [[[1, 2]]], [[1]]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"points": POINT, "labels": None}, "points come without labels"),
        ({"points": None, "labels": LABEL}, "labels come without points"),
        ({"points": None, "labels": None}, "no prompt"),
        ({"points": [[1, 2]], "labels": [1]}, r"points: expected shape \(prompts, points, 2\), found \(1, 2\)"),
        ({"points": [[[1, 2, 3]]], "labels": LABEL}, r"found \(1, 1, 3\)"),
        ({"points": [[]], "labels": [[]]}, "points: expected shape"),
        ({"points": POINT, "labels": [[1, 0]]}, r"labels: expected shape \(1, 1\), one a point, found \(1, 2\)"),
        ({"points": POINT, "labels": [[7]]}, "labels: expected 1 .*, found 7"),
        ({"points": POINT, "labels": [[0.5]]}, "labels: expected 1 .*, found 0.5"),
        ({"points": [[[1, float("nan")]]], "labels": LABEL}, "points: every value must be finite"),
        ({"points": [[["a", 2]]], "labels": LABEL}, "points: expected an array of numbers"),
        ({"points": POINT, "labels": LABEL, "boxes": [1, 2, 3, 4]}, r"boxes: expected shape \(prompts, 4\)"),
        ({"points": POINT, "labels": LABEL, "boxes": [[30, 5, 20, 9]]}, "ends before it starts; boxes are XYXY"),
        ({"points": POINT, "labels": LABEL, "boxes": [[1, 2, 3, 4]] * 2}, "1 for points, 2 for boxes"),
        ({"points": POINT, "labels": LABEL, "mask_inputs": np.zeros((1, 1, 8, 8))}, r"\(prompts, 1, 16, 16\)"),
        ({"points": [[[1, 2]], [[1, 2], [3, 4]]], "labels": [[1]]}, "2 for points, 1 for labels"),
        ({"points": [[[1, 2]], [[1, 2], [3, 4]]], "labels": None}, "points come without labels"),
    ],
)
def test_what_is_no_prompt(predictor: Predictor, prompt: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predictor.predict_low_res(**prompt)


CLICKS = {"points": [[[10, 20]], [[40, 30]]], "labels": [[1], [1]]}
BOXES = {"points": None, "labels": None, "boxes": [[5, 10, 30, 40], [20, 0, 45, 45]]}


@pytest.mark.parametrize("prompts", [CLICKS, BOXES, BOXES | CLICKS], ids=["points", "boxes", "both"])
def test_prompted_masks_are_those_of_the_plain_decoder(real: Predictor, prompts: dict[str, Any]) -> None:
    for picture in (photo(50, 100), photo(100, 50)):  # the second must not use what the first one's prompts shared
        real.set_image(picture)
        masks, plain = real.prompt(**prompts), real.predict_low_res(**prompts)
        torch.testing.assert_close(masks.predicted_iou, plain.predicted_iou, atol=1e-4, rtol=1e-4)
        found, expected = masks.logits(torch.tensor([4, 1])), plain.logits.flatten(0, 1)[[4, 1]]
        torch.testing.assert_close(real.upscale(found[None]), real.upscale(expected[None]), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("shown", [range(1, 33), range(33, 65)], ids=str)
def test_logits_are_made_just_where_the_pixels_of_the_picture_come_from(real: Predictor, shown: range) -> None:
    """Where the others are no numbers, all pixels of the picture still are; and there is at most one row too many."""
    sam, side = real.sam, real.sam.image_size
    assert isinstance(sam, Sam)
    points = (torch.tensor([[[10.0, 20]]]), torch.ones(1, 1, dtype=torch.int64))
    for pixels in shown:
        shared = sam.precompute(real.encoded.embedding, shown_hw=(pixels, side))
        logits = sam.prompt(shared, points=points, multimask_output=False).logits(torch.tensor([0]))
        made = logits != BESIDE
        assert made.all(dim=2).equal(made.any(dim=2))  # whole rows
        unknown = torch.where(made, logits, torch.nan)
        assert Upscaling((side, side), (pixels, side), (pixels, side)).apply(unknown[None]).isfinite().all()
        rows = made.all(dim=2)[0]
        assert rows[: 4 * -(-pixels // 16)].all()
        assert rows.sum() <= 4 * (-(-pixels // 16) + 1)


def test_a_portrait_and_a_landscape_picture_get_no_logits_on_their_padding(real: Predictor) -> None:
    for picture, (rows, columns) in ((photo(20, 100), (4, 16)), (photo(100, 20), (16, 4))):
        real.set_image(picture)
        made = real.prompt([[[10, 20]]], [[1]]).logits(torch.arange(3)) != BESIDE
        assert made[:, :rows, :columns].all()
        assert made.sum() == 3 * rows * columns


def test_any_model_can_be_prompted(predictor: Predictor) -> None:
    masks = predictor.prompt([[[10, 20]], [[70, 30]]], [[1], [0]])
    assert masks.predicted_iou.shape == (2, 3)
    assert masks.logits(torch.tensor([5])).shape == (1, 16, 16)


def test_fast_gives_other_numbers_and_nearly_the_same_masks(real: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.contract.half_trial", lambda _: HalfTrial(half_s=1.0, single_s=2.0))
    fast = Predictor(real.sam, contract="fast")
    points, labels = [[[10, 20]], [[70, 30]]], [[1], [1]]
    found = []
    for each in (real, fast):
        each.set_image(photo(50, 100))
        found.append(each.prompt(points, labels).logits(torch.arange(6)))
    assert found[1].dtype == torch.float32
    assert not torch.equal(*found)
    assert ((found[0] > 0) == (found[1] > 0)).float().mean() > 0.95


def test_a_contract_that_is_none_is_an_error(model: NotingModel) -> None:
    with pytest.raises(InputError, match="expected exact or fast, found 'faster'"):
        Predictor(model, contract="faster")  # type: ignore[arg-type]


def test_prompting_with_nothing_is_an_error(real: Predictor) -> None:
    with pytest.raises(InputError, match="no prompt"):
        real.prompt()
