"""Our model beside the published code with the same weights: same names, same numbers (max difference 1e-4, fp32)."""

from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from model.config import MODEL_SIZES, SamConfig
from model.encoder_configs import VIT_B, VIT_T, TinyViTConfig, ViTConfig
from model.encoders import ImageEmbedding
from model.predictor import Predictor
from model.sam import Sam
from tests.peers.published import ours_and_published
from tests.peers.timm_standin import install_timm_standin
from tests.peers.torchvision_standin import install_torchvision_standin

TOLERANCE = 1e-4

# Windows of 5 on a grid of 16 leave a rest, as 14 on 64 does in the published sizes.
SMALL_VIT = SamConfig(
    ViTConfig(embed_dim=64, depth=4, num_heads=4, global_attn_indexes=(1, 3), img_size=256, window_size=5)
)
# MobileSAM's own code works at 1024 px and with 320 channels at the end only.
SMALL_TINY_VIT = SamConfig(
    TinyViTConfig(embed_dims=(8, 16, 32, 320), depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), num_classes=10)
)
SMALL = {"vit": SMALL_VIT, "tiny_vit": SMALL_TINY_VIT}


@pytest.fixture(scope="module", params=list(SMALL))
def pair(request: pytest.FixtureRequest) -> tuple[Sam, Any]:
    return ours_and_published(SMALL[request.param], seed=3)


@pytest.fixture(scope="module")
def vit_pair() -> tuple[Sam, Any]:
    """For what does not depend on the encoder."""
    return ours_and_published(SMALL_VIT, seed=4)


@pytest.fixture(scope="module")
def on_photo(pair: tuple[Sam, Any]) -> tuple[Predictor, Any]:
    """Both predictors with an upright photograph of odd size, which the small ViT shrinks and TinyViT enlarges."""
    return predictors(pair, np.ascontiguousarray(data.astronaut()[:301, 100:317]))


def test_embeddings_of_a_batch(pair: tuple[Sam, Any]) -> None:
    ours, peer = pair
    pixels = torch.randn(2, 3, ours.image_size, ours.image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = peer.image_encoder(pixels), ours.encode(pixels).features
    assert expected.std() > 0.1
    assert_close(found, expected)


POINTS = np.array([[[31.0, 40.5], [200.0, 12.0]], [[0.0, 0.0], [216.0, 300.0]], [[100.2, 150.7], [9.0, 280.0]]])
LABELS = np.array([[1, 0], [1, 1], [0, -1]])
BOXES = np.array([[10.0, 20.0, 90.5, 260.0], [0.0, 0.0, 216.0, 300.0], [50.0, 50.0, 50.0, 60.0]])
PROMPTS = {
    "points": {"points": (POINTS, LABELS)},
    "one point": {"points": (POINTS[:, :1], LABELS[:, :1])},
    "boxes": {"boxes": BOXES},
    "points and boxes": {"points": (POINTS, LABELS), "boxes": BOXES},
    "masks": {"masks": True},
    "points and masks": {"points": (POINTS, LABELS), "masks": True},
    "everything": {"points": (POINTS, LABELS), "boxes": BOXES, "masks": True},
}


@pytest.mark.parametrize("multimask_output", [True, False])
@pytest.mark.parametrize("prompts", list(PROMPTS.values()), ids=list(PROMPTS))
def test_low_resolution_logits_and_predicted_iou(
    on_photo: tuple[Predictor, Any], prompts: dict[str, Any], multimask_output: bool
) -> None:
    assert_same_low_res(*on_photo, prompts, multimask_output)


@pytest.mark.parametrize(
    "crop",
    [np.s_[40:77, 30:290], np.s_[:, :], np.s_[:100, 50:53], np.s_[7:8, 9:10]],
    ids=["wide", "square", "narrow", "one pixel"],
)
def test_predictor_from_picture_to_masks(vit_pair: tuple[Sam, Any], crop: tuple[slice, slice]) -> None:
    image = np.ascontiguousarray(data.astronaut()[crop])
    predictor, peer_predictor = predictors(vit_pair, image)
    height, width = image.shape[:2]
    points = np.array([[0.3 * width, 0.6 * height], [0.9 * width, 0.1 * height]])
    box = np.array([0.1, 0.2, 0.8, 0.9]) * [width, height, width, height]
    assert_same_prediction(predictor, peer_predictor, {"point_coords": points[:1], "point_labels": np.array([1])})
    assert_same_prediction(
        predictor, peer_predictor, {"point_coords": points, "point_labels": np.array([1, 0]), "box": box}
    )


def test_a_second_click_on_the_mask_of_the_first(on_photo: tuple[Predictor, Any]) -> None:
    first = {"point_coords": POINTS[0, :1], "point_labels": np.array([1])}
    *_, logits = assert_same_prediction(*on_photo, first)
    second = {"point_coords": POINTS[0], "point_labels": np.array([1, 0]), "mask_input": logits[1:2]}
    assert_same_prediction(*on_photo, second | {"multimask_output": False})


def test_prompts_over_a_batch_of_images_equal_each_image_alone(vit_pair: tuple[Sam, Any]) -> None:
    ours, peer = vit_pair
    pixels = torch.randn(2, 3, ours.image_size, ours.image_size, generator=torch.Generator().manual_seed(1))
    coords, labels = torch.from_numpy(POINTS).float(), torch.from_numpy(LABELS)
    with torch.no_grad():
        features = peer.image_encoder(pixels)
        found = ours.decode(
            ImageEmbedding(ours.encode(pixels).features),
            points=(coords, labels),
            image_index=torch.tensor([1, 0, 1]),
            multimask_output=True,
        )
        for row, image in enumerate([1, 0, 1]):
            sparse, dense = peer.prompt_encoder((coords[row : row + 1], labels[row : row + 1]), None, None)
            logits, iou = peer.mask_decoder(
                image_embeddings=features[image : image + 1],
                image_pe=peer.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            assert_close(found.logits[row], logits[0])
            assert_close(found.predicted_iou[row], iou[0])


@pytest.mark.parametrize("size", ["vit_h", "vit_l", "vit_b"])
def test_names_and_shapes_of_metas_checkpoints(size: str) -> None:
    install_torchvision_standin()
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        assert shapes(Sam(MODEL_SIZES[size]())) == shapes(sam_model_registry[size]())


def test_names_and_shapes_of_mobile_sams_checkpoint() -> None:
    install_torchvision_standin()
    install_timm_standin()
    from mobile_sam import sam_model_registry

    assert shapes(Sam(MODEL_SIZES["vit_t"]())) == shapes(sam_model_registry["vit_t"]())


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("encoder", [VIT_B, VIT_T], ids=["vit_b", "vit_t"])
def test_full_size(encoder: ViTConfig | TinyViTConfig) -> None:
    pair = ours_and_published(SamConfig(encoder), seed=5)
    image = data.astronaut()[:400]
    predictor, peer_predictor = predictors(pair, image)
    assert_close(predictor.encoded.embedding.features, peer_predictor.features)
    for prompts in PROMPTS.values():
        for multimask_output in (True, False):
            assert_same_low_res(predictor, peer_predictor, prompts, multimask_output)
    assert_same_prediction(predictor, peer_predictor, {"box": BOXES[0]})


def predictors(pair: tuple[Sam, Any], image: np.ndarray) -> tuple[Predictor, Any]:
    """Both predictors with the picture set."""
    ours, peer = pair
    if type(peer).__module__.startswith("mobile_sam"):
        from mobile_sam import SamPredictor
    else:
        from segment_anything import SamPredictor
    predictor, peer_predictor = Predictor(ours), SamPredictor(peer)
    predictor.set_image(image)
    peer_predictor.set_image(image)
    assert predictor.input_hw == peer_predictor.input_size
    return predictor, peer_predictor


def assert_same_low_res(
    predictor: Predictor, peer_predictor: Any, prompts: dict[str, Any], multimask_output: bool
) -> None:
    points, labels = prompts.get("points", (None, None))
    boxes = prompts.get("boxes")
    side = predictor.sam.image_size // 4
    generator = torch.Generator().manual_seed(7)
    masks = 5 * torch.randn(len(POINTS), 1, side, side, generator=generator) if prompts.get("masks") else None
    found = predictor.predict_low_res(points, labels, boxes=boxes, mask_inputs=masks, multimask_output=multimask_output)
    transform, image_hw = peer_predictor.transform, predictor.image_hw
    full, iou, logits = peer_predictor.predict_torch(
        None if points is None else transform.apply_coords_torch(torch.from_numpy(points), image_hw),
        None if labels is None else torch.from_numpy(labels),
        None if boxes is None else transform.apply_boxes_torch(torch.from_numpy(boxes), image_hw),
        masks,
        multimask_output,
        return_logits=True,
    )
    assert found.logits.shape == (len(POINTS), 3 if multimask_output else 1, side, side)
    assert logits.std() > 0.1
    assert_close(found.logits, logits)
    assert_close(found.predicted_iou, iou)
    assert_close(predictor.upscale(found.logits), full)


def assert_same_prediction(
    predictor: Predictor, peer_predictor: Any, prompt: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found, expected = predictor.predict(**prompt), peer_predictor.predict(**prompt)
    logits = peer_predictor.predict(**prompt, return_logits=True)[0]
    assert found[0].dtype == bool
    assert found[0].shape == expected[0].shape == (logits.shape[0], *predictor.image_hw)
    # Rounding can only turn a pixel whose logit is next to the threshold.
    assert (np.abs(logits[found[0] != expected[0]]) < TOLERANCE).all()
    assert_close(found[1], expected[1])
    assert_close(found[2], expected[2])
    return expected


def assert_close(found: Tensor | np.ndarray, expected: Tensor | np.ndarray) -> None:
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
