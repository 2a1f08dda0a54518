"""Calls of the published predictor: given the same weights, both give the same, call by call."""

import threading
from typing import Any

import numpy as np
import pytest
import torch

from model.predictor import Predictor
from model.published import ResizeLongestSide, resize_longest_side, resized_hw
from model.sam import Sam
from schemas.errors import InputError, WaitError
from tests.model.small_models import photo, small_sam

HW = (50, 100)


@pytest.fixture(scope="module")
def sam() -> Sam:
    return small_sam()


@pytest.fixture
def predictor(sam: Sam) -> Predictor:
    predictor = Predictor(sam)
    predictor.set_image(photo(*HW))
    return predictor


def same(first: Any, second: Any) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(np.asarray(a, dtype=float), np.asarray(b, dtype=float), atol=1e-4)


def test_the_cells_of_the_published_notebook_run(sam: Sam) -> None:
    image = photo(*HW)
    predictor = Predictor(sam)
    predictor.set_image(image)
    input_point, input_label = np.array([[50, 37]]), np.array([1])
    masks, scores, logits = predictor.predict(point_coords=input_point, point_labels=input_label, multimask_output=True)
    assert masks.shape == (3, *HW)
    mask_input = logits[np.argmax(scores), :, :]
    masks, _, _ = predictor.predict(
        point_coords=np.array([[50, 37], [11, 6]]),
        point_labels=np.array([1, 0]),
        mask_input=mask_input[None, :, :],
        multimask_output=False,
    )
    assert masks.shape == (1, *HW)
    input_box = np.array([42, 20, 70, 47])
    masks, _, _ = predictor.predict(
        point_coords=None, point_labels=None, box=input_box[None, :], multimask_output=False
    )
    same([masks], [predictor.predict(box=input_box, multimask_output=False)[0]])
    input_boxes = torch.tensor([[7, 6, 17, 48], [42, 20, 70, 47]], device=predictor.device)
    transformed_boxes = predictor.transform.apply_boxes_torch(input_boxes, image.shape[:2])
    batch, _, _ = predictor.predict_torch(
        point_coords=None, point_labels=None, boxes=transformed_boxes, multimask_output=False
    )
    same([batch[1]], [masks])
    resize = ResizeLongestSide(sam.image_encoder.img_size)
    prepared = torch.as_tensor(resize.apply_image(image), device=sam.device).permute(2, 0, 1).contiguous()
    record = {
        "image": prepared,
        "boxes": resize.apply_boxes_torch(input_boxes, image.shape[:2]),
        "original_size": image.shape[:2],
    }
    batched = sam([record, record], multimask_output=False)
    for output in batched:
        assert set(output) == {"masks", "iou_predictions", "low_res_logits"}
        same([output["masks"]], [batch])


def test_colours_in_the_other_order(sam: Sam, predictor: Predictor) -> None:
    other = Predictor(sam)
    other.set_image(photo(*HW)[:, :, ::-1].copy(), image_format="BGR")
    assert torch.equal(other.get_image_embedding(), predictor.get_image_embedding())
    with pytest.raises(InputError, match="image_format"):
        other.set_image(photo(*HW), image_format="HSV")


def test_a_resized_picture_may_be_given(sam: Sam, predictor: Predictor) -> None:
    other = Predictor(sam)
    assert not other.is_image_set
    resized = torch.from_numpy(other.transform.apply_image(photo(*HW))).permute(2, 0, 1)[None]
    other.set_torch_image(resized, HW)
    assert other.is_image_set
    assert torch.equal(other.get_image_embedding(), predictor.get_image_embedding())
    assert other.image_hw == HW
    with pytest.raises(InputError, match="longest side 64"):
        other.set_torch_image(resized[:, :, :, :60], HW)
    other.reset_image()
    with pytest.raises(WaitError, match="set_image"):
        other.get_image_embedding()


def test_empty_points_beside_a_box_are_none(predictor: Predictor) -> None:
    box = [10, 10, 40, 40]
    same(predictor.predict(np.zeros((0, 2)), np.zeros(0), box=box), predictor.predict(box=box))
    with pytest.raises(InputError):
        predictor.predict(np.zeros((0, 2)), np.zeros(0))


def test_boxes_are_cut_to_the_picture(predictor: Predictor) -> None:
    cut = predictor.predict(box=[60, 10, 100, 50])
    same(predictor.predict(box=[60, 10, 130, 70]), cut)
    same(predictor.predict_low_res(None, None, boxes=[[60, 10, 130, 70]]).logits, [cut[2]])
    transformed = predictor.transform.apply_boxes_torch(torch.tensor([[60.0, 10, 130, 70]]), HW)
    same(predictor.predict_torch(None, None, transformed)[2], [cut[2]])
    for box in ([101, 0, 120, 20], [-9, 0, -1, 20]):
        with pytest.raises(InputError, match="outside the picture, which is 100 wide and 50 high"):
            predictor.predict(box=box)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ({"box": [10, 10, 10, 40]}, "no area"),
        ({"box": [0.1, 0.2, 0.5, 0.9]}, "fractions"),
        ({"point_coords": [[0.3, 0.7]], "point_labels": [1]}, "fractions"),
        ({"point_coords": [[20, 20], [50, 51]], "point_labels": [1, 0]}, r"\[50.0, 51.0\] lies outside"),
        ({"point_coords": [[-1, 20]], "point_labels": [1]}, "lies outside"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(predictor: Predictor, prompt: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        predictor.predict(**prompt)


def test_corners_of_the_picture_are_in_it(predictor: Predictor) -> None:
    assert predictor.predict([[0, 0], [1, 1], [100, 50]], [1, 1, 1], box=[0, 0, 100, 50])[0].shape == (3, *HW)


def test_a_mask_of_the_picture_becomes_a_prompt(predictor: Predictor) -> None:
    mask = np.zeros(HW, dtype=bool)
    mask[20:40, 30:80] = True
    prompt = predictor.mask_prompt(mask)
    assert prompt.shape == (1, 16, 16)
    shown = predictor.upscale(torch.from_numpy(prompt)[None])[0, 0].numpy() > 0
    assert (shown & mask).sum() / (shown | mask).sum() > 0.75
    with pytest.raises(InputError, match="shape of the picture"):
        predictor.mask_prompt(mask[:, :50])


def test_masks_of_the_size_of_logits_become_logits(predictor: Predictor) -> None:
    mask = np.zeros((1, 16, 16), dtype=bool)
    mask[:, 4:8, 4:12] = True
    sure = predictor.predict(mask_input=np.where(mask, 10.0, -10.0))
    same(predictor.predict(mask_input=mask), sure)
    same(predictor.predict(mask_input=mask.astype(np.uint8)), sure)


def test_two_threads_in_one_predictor_are_told(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(sam)
    inside, go_on, heard = threading.Event(), threading.Event(), list[str]()
    encode = sam.encode

    def slow(pixels: torch.Tensor) -> Any:
        inside.set()
        assert go_on.wait(10)
        return encode(pixels)

    monkeypatch.setattr(sam, "encode", slow)
    thread = threading.Thread(target=predictor.set_image, args=(photo(*HW),))
    thread.start()
    assert inside.wait(10)
    try:
        predictor.set_image(photo(40, 40))
    except WaitError as error:
        heard.append(str(error))
    finally:
        go_on.set()
        thread.join()
    assert "give each thread a Predictor of its own" in heard[0]
    assert predictor.predict(box=[0, 0, 9, 9])[0].shape == (3, *HW)


def test_coordinates_are_scaled_axis_by_axis() -> None:
    """Of 100 x 3 pixels the encoder sees 64 x 2, so that the axes have scales of their own."""
    resize, hw = ResizeLongestSide(64), (3, 100)
    coords, boxes = np.array([[50.0, 1.5], [100.0, 3.0]]), np.array([[25.0, 0.0, 75.0, 3.0]])
    same(resize.apply_coords(coords, hw), [[32, 1], [64, 2]])
    same(resize.apply_boxes(boxes, hw), [[16, 0, 48, 2]])
    same(resize.apply_coords_torch(torch.tensor(coords), hw), [[32, 1], [64, 2]])
    same(resize.apply_boxes_torch(torch.tensor(boxes), hw), [[16, 0, 48, 2]])
    assert resize.apply_image_torch(torch.zeros(1, 3, *hw)).shape == (1, 3, 2, 64)


@pytest.mark.parametrize(
    ("image_hw", "expected"),
    [
        ((50, 100), (32, 64)),
        ((100, 50), (64, 32)),
        ((64, 64), (64, 64)),
        ((1, 1), (64, 64)),
        ((128, 5), (64, 3)),  # 2.5 is rounded up
        ((128, 3), (64, 2)),  # and so is 1.5
        ((20, 20_000), (1, 64)),  # 0.06 rows would be none
    ],
)
def test_size_of_the_input(image_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_hw(image_hw, longest_side=64) == expected
    assert resize_longest_side(photo(*image_hw), longest_side=64).shape == (*expected, 3)
