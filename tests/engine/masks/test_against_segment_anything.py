"""Our `library-default` beside the published generator, both fed the same decoder outputs on real photographs."""

from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data

from engine import rle
from engine.masks.generator import GenerationResult, MaskGenerator
from model.config import SamConfig
from model.encoder_configs import ViTConfig
from model.predictor import Predictor
from schemas.presets import generator_preset
from tests.peers.decoder_outputs import StandInSam, standin_peer_sam
from tests.peers.published import ours_and_published
from tests.peers.records import as_published
from tests.peers.torchvision_standin import install_torchvision_standin

# The published generator's own use of numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Image = npt.NDArray[np.uint8]

PHOTOGRAPHS = {
    "small": lambda: skimage.data.chelsea(),  # 300 x 451
    "square": lambda: skimage.data.astronaut(),  # 512 x 512
    "portrait": lambda: np.rot90(skimage.data.coffee())[:, 20:],  # 600 x 380
    "odd": lambda: skimage.data.rocket()[:423, 7:],  # 423 x 633
    "grey": lambda: np.repeat(skimage.data.camera()[11:, :333, None], 3, axis=2),  # 501 x 333
    "large": lambda: skimage.data.retina()[61:1350, 250:1121],  # 1289 x 871, larger than the model's input
    "thumbnail": lambda: skimage.data.coffee()[::8, ::10],  # 50 x 60: torch interpolates so small a picture another way
    "larger": lambda: skimage.data.retina()[:1300],  # 1300 x 1411
}


def photograph(name: str) -> Image:
    return np.ascontiguousarray(PHOTOGRAPHS[name]())


def ours(image: Image, **settings: Any) -> GenerationResult:
    return MaskGenerator(Predictor(StandInSam()), generator_preset("library-default", **settings)).generate(image)


class Peer:
    """The published generator; the masks before small regions are cleaned are computed once for all minimum areas."""

    def __init__(self, image: Image, *, model: Any = None, **settings: Any) -> None:
        install_torchvision_standin()
        from segment_anything import SamAutomaticMaskGenerator

        self.image = image
        self.generator = SamAutomaticMaskGenerator(model or standin_peer_sam(), output_mode="coco_rle", **settings)
        raw = self.generator._generate_masks(image)
        self.generator._generate_masks = lambda _: deepcopy(raw)

    def records(self, *, min_mask_region_area: int) -> list[dict[str, Any]]:
        self.generator.min_mask_region_area = min_mask_region_area
        return self.generator.generate(self.image)


def assert_same_masks(image: Image, **settings: Any) -> dict[int, GenerationResult]:
    """Compare with and without cleaning of small regions; returns our results for each minimum area."""
    peer = Peer(image, **settings)
    results = {}
    for min_area in (0, 100):
        results[min_area] = ours(image, min_mask_region_area=min_area, **settings)
        expected = peer.records(min_mask_region_area=min_area)
        found = as_published(results[min_area].masks)
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine == theirs
    return results


@pytest.mark.parametrize(
    ("name", "layers", "points_per_side"),
    [
        ("small", 0, 5),
        ("thumbnail", 0, 5),
        # With crops, of which the whole picture is the first.
        ("small", 1, 3),
        ("square", 1, 3),
        ("portrait", 1, 3),
        ("odd", 1, 3),
        ("grey", 1, 3),
        ("large", 1, 2),
        ("thumbnail", 1, 3),
    ],
)
def test_same_masks_as_the_published_generator(name: str, layers: int, points_per_side: int) -> None:
    results = assert_same_masks(photograph(name), crop_n_layers=layers, points_per_side=points_per_side)
    assert len(results[0].masks) >= 5
    assert [mask.rle for mask in results[0].masks] != [mask.rle for mask in results[100].masks]
    if layers:
        assert results[0].dropped["crop_edge"] > 0
        assert len({mask.crop_box for mask in results[0].masks}) > 1


def test_same_masks_with_the_crops_and_grids_of_sa1b() -> None:
    """21 crops, grids that get smaller; without the two filters that only the paper has."""
    settings = {"points_per_side": 4, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2}
    results = assert_same_masks(photograph("small"), **settings)
    assert results[0].dropped["duplicate_across_crops"] > 0


def test_same_masks_at_other_thresholds() -> None:
    settings = {
        "points_per_side": 5,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.8,
        "stability_score_offset": 0.5,
        "box_nms_thresh": 0.6,
        "points_per_batch": 7,
    }
    results = assert_same_masks(photograph("small"), **settings)
    assert results[0].dropped["predicted_iou"] == 0


def test_same_masks_through_the_networks() -> None:
    """Whole models with the same random weights: equal up to rounding. Filters are open: untrained masks look alike."""
    config = SamConfig(ViTConfig(64, 4, 4, global_attn_indexes=(1, 3), img_size=256, window_size=5))
    model, peer_model = ours_and_published(config)
    settings = {
        "points_per_side": 3,
        "crop_n_layers": 1,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.5,
        "stability_score_offset": 0.1,
        "box_nms_thresh": 1.0,
        "crop_nms_thresh": 1.0,
    }
    image = photograph("small")
    peer = Peer(image, model=peer_model, **settings).records(min_mask_region_area=0)
    generator = MaskGenerator(Predictor(model.eval()), generator_preset("library-default", **settings))
    found = generator.generate(image).masks
    assert len(found) == len(peer) > 20
    for mine, theirs in zip(found, peer, strict=True):
        assert [list(point) for point in mine.prompt.on_object] == theirs["point_coords"]
        assert mine.predicted_iou == pytest.approx(theirs["predicted_iou"], abs=1e-4)
        assert mine.stability_score == pytest.approx(theirs["stability_score"], abs=1e-3)
        same_mask = rle.from_coco(theirs["segmentation"], *image.shape[:2])
        assert rle.iou_matrix([mine.rle], [same_mask])[0, 0] > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers", "points_per_side"), [("small", 0, 20), ("portrait", 1, 10), ("larger", 0, 12)]
)
def test_same_masks_on_a_dense_grid(name: str, layers: int, points_per_side: int) -> None:
    results = assert_same_masks(photograph(name), crop_n_layers=layers, points_per_side=points_per_side)
    assert len(results[0].masks) >= 20
