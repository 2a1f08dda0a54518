"""SAM-HQ beside the package `segment-anything-hq` with the same weights: same names, same numbers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from engine.masks.generator import MaskGenerator
from model.checkpoints import load_weights_file, recognise
from model.config import MODEL_SIZES, SamConfig
from model.encoder_configs import EfficientNetConfig, TinyViTConfig, ViTConfig
from model.encoders import ImageEmbedding
from model.predictor import Predictor
from model.sam import Sam, build_sam
from schemas.errors import InputError
from schemas.presets import generator_preset
from tests.peers.published import draw_weights, ours_and_published
from tests.peers.timm_standin import install_timm_standin
from tests.peers.torchvision_standin import install_torchvision_standin

TOLERANCE = 1e-4
VIT = SamConfig(
    ViTConfig(embed_dim=64, depth=4, num_heads=4, global_attn_indexes=(1, 3), img_size=256, window_size=5),
    decoder="sam_hq",
)
# The package's own code works at 1024 px and with 320 channels at the end only.
TINY_VIT = SamConfig(
    TinyViTConfig(embed_dims=(8, 16, 32, 320), depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), num_classes=10),
    decoder="sam_hq",
)
POINTS = np.array([[[31.0, 40.5], [200.0, 12.0]], [[0.0, 0.0], [216.0, 300.0]], [[100.2, 150.7], [9.0, 280.0]]])
LABELS = np.array([[1, 0], [1, 1], [0, -1]])
BOXES = np.array([[10.0, 20.0, 90.5, 260.0], [0.0, 0.0, 216.0, 300.0], [50.0, 50.0, 60.0, 60.0]])
PROMPTS = {
    "points": {"points": (POINTS, LABELS)},
    "boxes": {"boxes": BOXES},
    "masks": {"masks": True},
    "everything": {"points": (POINTS, LABELS), "boxes": BOXES, "masks": True},
}


def photo() -> np.ndarray:
    """Upright, and of odd size."""
    return np.ascontiguousarray(data.astronaut()[:301, 100:317])


def package() -> Any:
    """`segment_anything_hq`; it demands torchvision, so that it is installed without what it demands, or not at all."""
    install_torchvision_standin()
    install_timm_standin()
    return pytest.importorskip("segment_anything_hq", reason="pip install --no-deps segment-anything-hq==0.3")


@pytest.fixture(scope="module")
def sam() -> Sam:
    """For what needs no peer."""
    made = build_sam(VIT)
    draw_weights(made, seed=2)
    return made


@pytest.fixture(scope="module")
def pair() -> tuple[Predictor, Any]:
    return predictors(VIT)


def predictors(config: SamConfig) -> tuple[Predictor, Any]:
    """Ours and the package's, with the picture set."""
    peer_package = package()
    ours, peer = ours_and_published(config, seed=3)
    predictor, peer_predictor = Predictor(ours), peer_package.SamPredictor(peer)
    predictor.set_image(photo())
    peer_predictor.set_image(photo())
    return predictor, peer_predictor


@pytest.mark.parametrize("token_only", [False, True], ids=["both", "token only"])
@pytest.mark.parametrize("multimask_output", [True, False], ids=["best of three", "single"])
@pytest.mark.parametrize("prompts", list(PROMPTS.values()), ids=list(PROMPTS))
def test_logits_and_predicted_iou_of_the_package(
    pair: tuple[Predictor, Any],
    prompts: dict[str, Any],
    multimask_output: bool,
    token_only: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pair[0].sam.mask_decoder, "token_only", token_only)
    assert_same(*pair, prompts, multimask_output, token_only)


@pytest.mark.slow
def test_on_mobile_sams_encoder() -> None:
    assert_same(*predictors(TINY_VIT), PROMPTS["everything"], True, False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_full_size() -> None:
    pair = predictors(MODEL_SIZES["sam_hq_vit_b"]())
    for prompts in PROMPTS.values():
        assert_same(*pair, prompts, True, False)


def assert_same(
    predictor: Predictor, peer_predictor: Any, prompts: dict[str, Any], multimask_output: bool, token_only: bool
) -> None:
    points, labels = prompts.get("points", (None, None))
    boxes, side = prompts.get("boxes"), predictor.sam.image_size // 4
    drawn = torch.randn(len(POINTS), 1, side, side, generator=torch.Generator().manual_seed(7))
    masks = 5 * drawn if prompts.get("masks") else None
    found = predictor.predict_low_res(points, labels, boxes=boxes, mask_inputs=masks, multimask_output=multimask_output)
    transform, image_hw = peer_predictor.transform, predictor.image_hw
    full, iou, logits = peer_predictor.predict_torch(
        None if points is None else transform.apply_coords_torch(torch.from_numpy(points), image_hw),
        None if labels is None else torch.from_numpy(labels),
        None if boxes is None else transform.apply_boxes_torch(torch.from_numpy(boxes), image_hw),
        masks,
        multimask_output,
        return_logits=True,
        hq_token_only=token_only,
    )
    assert logits.std() > 0.1
    assert found.logits.shape == (len(POINTS), 1, side, side)
    torch.testing.assert_close(found.logits, logits, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(found.predicted_iou, iou, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(predictor.upscale(found.logits), full, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "size", [*(pytest.param(size, marks=pytest.mark.slow) for size in ("vit_h", "vit_l")), "vit_b", "vit_tiny"]
)
def test_names_and_shapes_of_the_published_checkpoints(size: str) -> None:
    sam_model_registry = package().sam_model_registry
    with torch.device("cpu" if size == "vit_tiny" else "meta"):
        expected = sam_model_registry[size]().state_dict()
    with torch.device("meta"):
        found = Sam(MODEL_SIZES[f"sam_hq_{size}"]()).state_dict()
    assert {name: weight.shape for name, weight in found.items()} == {name: w.shape for name, w in expected.items()}
    assert recognise(expected, file=Path("a.pth")) == f"sam_hq_{size}"


def test_a_published_file_becomes_a_model(tmp_path: Path) -> None:
    sam = build_sam(MODEL_SIZES["sam_hq_vit_tiny"]())
    torch.save(sam.state_dict(), tmp_path / "sam_hq_vit_tiny.pth")
    size, loaded = load_weights_file(tmp_path / "sam_hq_vit_tiny.pth")
    assert size == "sam_hq_vit_tiny"
    assert torch.equal(loaded.mask_decoder.hf_token.weight, sam.mask_decoder.hf_token.weight)


def test_prompts_over_a_batch_of_images_equal_each_image_alone(sam: Sam) -> None:
    pixels = torch.randn(2, 3, sam.image_size, sam.image_size, generator=torch.Generator().manual_seed(1))
    points = (torch.from_numpy(POINTS).float(), torch.from_numpy(LABELS))
    with torch.no_grad():
        both = sam.encode(pixels)
        found = sam.decode(both, points=points, image_index=torch.tensor([1, 0, 1]), multimask_output=True)
        for row, embedding in enumerate(both.split()[image] for image in (1, 0, 1)):
            alone = sam.decode(embedding, points=(points[0][[row]], points[1][[row]]), multimask_output=True)
            torch.testing.assert_close(found.logits[[row]], alone.logits, atol=TOLERANCE, rtol=0)
            torch.testing.assert_close(found.predicted_iou[[row]], alone.predicted_iou, atol=TOLERANCE, rtol=0)


def test_logits_that_are_made_on_demand_know_what_lies_beside_them(sam: Sam) -> None:
    """Only what the picture's pixels read is made, and the convolutions look two logits further."""
    predictor = Predictor(sam)
    for height in (100, 107, 217):  # of 107 the last logit that is read ends a pixel of the embedding
        picture = photo()[:height]
        predictor.set_image(picture)
        points, labels = np.random.default_rng(0).uniform(0, 99, (5, 1, 2)), np.ones((5, 1))
        found, expected = predictor.prompt(points, labels), predictor.predict_low_res(points, labels)
        torch.testing.assert_close(found.predicted_iou, expected.predicted_iou, atol=TOLERANCE, rtol=0)
        wanted = torch.tensor([4, 0, 3])
        shown = predictor.upscale(found.logits(wanted)[:, None])
        torch.testing.assert_close(shown, predictor.upscale(expected.logits[wanted]), atol=TOLERANCE, rtol=0)


def test_the_mask_generator_works_on_it(sam: Sam) -> None:
    config = generator_preset(
        "library-default", points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, crop_n_layers=0
    )
    found = MaskGenerator(Predictor(sam), config).generate(photo())
    assert found.masks
    assert {mask.origin for mask in found.masks} == {"automatic"}


@pytest.mark.parametrize("multimask_output", [True, False])
def test_every_parameter_of_the_hq_part_learns(sam: Sam, multimask_output: bool) -> None:
    sam.zero_grad()
    pixels = torch.randn(1, 3, sam.image_size, sam.image_size, generator=torch.Generator().manual_seed(1))
    points = (torch.from_numpy(POINTS).float(), torch.from_numpy(LABELS))
    sam.decode(sam.encode(pixels), points=points, multimask_output=multimask_output).logits.square().mean().backward()
    new = ("hf_", "compress_vit_feat", "embedding_")
    own = {name: weight for name, weight in sam.mask_decoder.named_parameters() if name.startswith(new)}
    assert len(own) == 1 + 6 + 3 * 6
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in own.values())
    sam.zero_grad()


def test_an_encoder_without_early_features_is_refused() -> None:
    config = SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64), decoder="sam_hq")
    with pytest.raises(InputError, match=r"decoder sam_hq: .* efficientnet .* use it with vit or tiny_vit"):
        build_sam(config)
    with pytest.raises(ValueError, match="the image encoder gave none"):
        build_sam(VIT).mask_decoder.share(ImageEmbedding(torch.zeros(1, 256, 16, 16)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replace(VIT, decoder="sam_3"), "decoder: expected one of .*found 'sam_3'"),
        (lambda: replace(VIT, high_res_features=True), "high_res_features: "),
        (lambda: replace(VIT, decoder="sam", hq_token_only=True), "hq_token_only: "),
    ],
)
def test_settings_that_do_not_fit(make: Callable[[], SamConfig], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_the_architecture_comes_back_from_plain_values() -> None:
    config = replace(VIT, hq_token_only=True)
    assert SamConfig.from_dict(config.to_dict()) == config
    assert build_sam(config).mask_decoder.token_only
