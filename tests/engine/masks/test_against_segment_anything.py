"""Our `library-default` beside the published generator, both fed the same decoder outputs on real photographs."""

from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data

from engine.masks.generator import GenerationResult, MaskGenerator
from model.predictor import Predictor
from schemas.presets import generator_preset
from tests.peers.decoder_outputs import StandInSam, standin_peer_sam
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
    "larger": lambda: skimage.data.retina()[:1300],  # 1300 x 1411
}


def photograph(name: str) -> Image:
    return np.ascontiguousarray(PHOTOGRAPHS[name]())


def ours(image: Image, **settings: Any) -> GenerationResult:
    return MaskGenerator(Predictor(StandInSam()), generator_preset("library-default", **settings)).generate(image)


def as_records(result: GenerationResult) -> list[dict[str, Any]]:
    """Our masks the way the published generator writes them."""
    return [
        {
            "segmentation": mask.rle.to_coco(),
            "area": mask.area,
            "bbox": xywh(mask.box_xyxy),
            "predicted_iou": mask.predicted_iou,
            "point_coords": [list(mask.point_xy)],
            "stability_score": mask.stability_score,
            "crop_box": xywh(mask.crop_box_xyxy),
        }
        for mask in result.masks
    ]


def xywh(box: tuple[int, int, int, int]) -> list[int]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


class Peer:
    """The published generator; the masks before small regions are cleaned are computed once for all minimum areas."""

    def __init__(self, image: Image, **settings: Any) -> None:
        install_torchvision_standin()
        from segment_anything import SamAutomaticMaskGenerator

        self.image = image
        self.generator = SamAutomaticMaskGenerator(standin_peer_sam(), output_mode="coco_rle", **settings)
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
        found = as_records(results[min_area])
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine == theirs
    return results


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("name", ["small", "square", "portrait", "odd", "grey", "large"])
def test_same_masks_as_the_published_generator(name: str, layers: int) -> None:
    points_per_side = {("large", 0): 4, ("large", 1): 2}.get((name, layers), 3 if layers else 6)
    results = assert_same_masks(photograph(name), crop_n_layers=layers, points_per_side=points_per_side)
    assert len(results[0].masks) >= 5
    assert [mask.rle for mask in results[0].masks] != [mask.rle for mask in results[100].masks]
    if layers:
        assert results[0].dropped["crop_edge"] > 0
        assert len({mask.crop_box_xyxy for mask in results[0].masks}) > 1


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


@pytest.mark.slow
@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("name", ["small", "portrait", "larger"])
def test_same_masks_on_the_full_grid(name: str, layers: int) -> None:
    results = assert_same_masks(photograph(name), crop_n_layers=layers, points_per_side=32 if layers == 0 else 16)
    assert len(results[0].masks) >= 20
