"""Notebooks written for the published package run on our models as they are: `engine.published.stand_in`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.published import sam_model_registry, stand_in
from model.config import SamConfig
from model.encoder_configs import ViTConfig
from model.sam import Sam, build_sam
from schemas.errors import InputError
from tests.peers.published import draw_weights
from tests.pictures import shapes

# The calls of the published notebooks, one cell each, with the pictures of this test and no plots.
PREDICTOR_CELLS = (
    """
import numpy as np
import torch
""",
    """
import sys
sys.path.append("..")
from segment_anything import sam_model_registry, SamPredictor

sam_checkpoint = "sam_vit_b.pth"
model_type = "vit_b"

device = "cpu"

sam = sam_model_registry[model_type](checkpoint=sam_checkpoint)
sam.to(device=device)

predictor = SamPredictor(sam)
""",
    "predictor.set_image(image)",
    """
input_point = np.array([[50, 37]])
input_label = np.array([1])
""",
    """
masks, scores, logits = predictor.predict(
    point_coords=input_point,
    point_labels=input_label,
    multimask_output=True,
)
""",
    "first_shape = masks.shape  # (number_of_masks) x H x W",
    """
input_point = np.array([[50, 37], [11, 36]])
input_label = np.array([1, 1])

mask_input = logits[np.argmax(scores), :, :]  # Choose the model's best mask
""",
    """
masks, _, _ = predictor.predict(
    point_coords=input_point,
    point_labels=input_label,
    mask_input=mask_input[None, :, :],
    multimask_output=False,
)
""",
    """
input_point = np.array([[50, 37], [11, 36]])
input_label = np.array([1, 0])

mask_input = logits[np.argmax(scores), :, :]
""",
    """
masks, _, _ = predictor.predict(
    point_coords=input_point,
    point_labels=input_label,
    mask_input=mask_input[None, :, :],
    multimask_output=False,
)
""",
    "input_box = np.array([42, 20, 70, 47])",
    """
masks, _, _ = predictor.predict(
    point_coords=None,
    point_labels=None,
    box=input_box[None, :],
    multimask_output=False,
)
box_mask = masks[0]
""",
    """
input_box = np.array([42, 20, 70, 47])
input_point = np.array([[57, 37]])
input_label = np.array([0])
""",
    """
masks, _, _ = predictor.predict(
    point_coords=input_point,
    point_labels=input_label,
    box=input_box,
    multimask_output=False,
)
""",
    """
input_boxes = torch.tensor([
    [7, 6, 17, 48],
    [42, 20, 70, 47],
    [13, 40, 20, 50],
    [12, 38, 21, 45],
], device=predictor.device)
""",
    """
transformed_boxes = predictor.transform.apply_boxes_torch(input_boxes, image.shape[:2])
masks, _, _ = predictor.predict_torch(
    point_coords=None,
    point_labels=None,
    boxes=transformed_boxes,
    multimask_output=False,
)
""",
    """
batch_shape = masks.shape  # (batch_size) x (num_predicted_masks_per_input) x H x W
second_box = masks[1, 0].cpu().numpy()
""",
    """
image1 = image  # truck.jpg from above
image1_boxes = torch.tensor([
    [7, 6, 17, 48],
    [42, 20, 70, 47],
], device=sam.device)

image2 = other_image
image2_boxes = torch.tensor([
    [4, 7, 43, 65],
    [3, 17, 20, 65],
    [50, 30, 62, 45],
], device=sam.device)
""",
    """
from segment_anything.utils.transforms import ResizeLongestSide
resize_transform = ResizeLongestSide(sam.image_encoder.img_size)

def prepare_image(image, transform, device):
    image = transform.apply_image(image)
    image = torch.as_tensor(image, device=device.device)
    return image.permute(2, 0, 1).contiguous()
""",
    """
batched_input = [
     {
         'image': prepare_image(image1, resize_transform, sam),
         'boxes': resize_transform.apply_boxes_torch(image1_boxes, image1.shape[:2]),
         'original_size': image1.shape[:2]
     },
     {
         'image': prepare_image(image2, resize_transform, sam),
         'boxes': resize_transform.apply_boxes_torch(image2_boxes, image2.shape[:2]),
         'original_size': image2.shape[:2]
     }
]
""",
    "batched_output = sam(batched_input, multimask_output=False)",
    "keys = batched_output[0].keys()",
)
GENERATOR_CELLS = (
    """
from segment_anything import sam_model_registry, SamAutomaticMaskGenerator, SamPredictor

sam = sam_model_registry["vit_b"](checkpoint="sam_vit_b.pth")
sam.to(device="cpu")

mask_generator = SamAutomaticMaskGenerator(sam)
""",
    """
mask_generator_2 = SamAutomaticMaskGenerator(
    model=sam,
    points_per_side=4,
    pred_iou_thresh=0.0,
    stability_score_thresh=0.0,
    crop_n_layers=1,
    crop_n_points_downscale_factor=2,
    min_mask_region_area=100,  # Requires open-cv to run post-processing
)
""",
    "masks2 = mask_generator_2.generate(image)",
    "sorted_anns = sorted(masks2, key=(lambda x: x['area']), reverse=True)",
)


def _small() -> Sam:
    config = ViTConfig(embed_dim=16, depth=1, num_heads=2, global_attn_indexes=(0,), img_size=64, window_size=2)
    sam = build_sam(SamConfig(config, decoder_depth=1, decoder_mlp_dim=32))
    draw_weights(sam, seed=0)
    return sam


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a notebook sees: our `segment_anything`, a small "vit_b" and its weights in the folder, two pictures."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "segment_anything"}
    for name in before:
        del sys.modules[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    torch.save(_small().state_dict(), tmp_path / "sam_vit_b.pth")
    monkeypatch.setattr("engine.published.load_weights_file", lambda file: ("vit_b", _loaded(file)))
    stand_in()
    yield {"image": shapes(0, width=100, height=50)[0], "other_image": shapes(1, width=70, height=80)[0]}
    for name in [name for name in sys.modules if name.split(".")[0] == "segment_anything"]:
        del sys.modules[name]
    sys.modules.update(before)


def _loaded(file: Path) -> Sam:
    sam = _small()
    sam.load_state_dict(torch.load(file, weights_only=True))
    return sam


def _run(cells: tuple[str, ...], names: dict[str, Any]) -> dict[str, Any]:
    for cell in cells:
        exec(compile(cell, "<cell>", "exec"), names)
    return names


def test_the_cells_of_the_predictor_notebook_run_unchanged(published: dict[str, Any]) -> None:
    found = _run(PREDICTOR_CELLS, published)
    assert found["first_shape"] == (3, 50, 100)
    assert found["batch_shape"] == (4, 1, 50, 100)
    assert np.array_equal(found["second_box"], found["box_mask"]), "alone and in a batch"
    assert set(found["keys"]) == {"masks", "iou_predictions", "low_res_logits"}
    one, two = found["batched_output"]
    assert (one["masks"].shape, two["masks"].shape) == ((2, 1, 50, 100), (3, 1, 80, 70))
    assert np.array_equal(one["masks"][1, 0].numpy(), found["box_mask"])


def test_the_cells_of_the_generator_notebook_run_unchanged(published: dict[str, Any]) -> None:
    found = _run(GENERATOR_CELLS, published)
    assert found["masks2"]
    first = found["sorted_anns"][0]
    fields = {"segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}
    assert set(first) == fields
    assert (first["segmentation"].shape, first["segmentation"].dtype) == ((50, 100), bool)
    assert first["segmentation"].sum() == first["area"]


def test_a_file_of_another_size_is_named(published: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"weights of vit_b, not of vit_l; use sam_model_registry\['vit_b'\]"):
        sam_model_registry["vit_l"](checkpoint="sam_vit_b.pth")
    with pytest.raises(InputError, match="unknown model size 'vit_x'"):
        sam_model_registry["vit_x"]
    assert "default" in sam_model_registry
