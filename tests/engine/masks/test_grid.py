import numpy as np
import pytest

from engine.masks.crops import Crop
from engine.masks.grid import layer_grids, point_grid, points_in_crop
from schemas.errors import InputError
from schemas.presets import GeneratorConfig, paper_sa1b
from tests.peers.torchvision_standin import install_torchvision_standin


def test_grid_of_two_by_hand() -> None:
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_grids_of_the_paper_are_32_16_and_8_points_a_side() -> None:
    assert [len(grid) for grid in layer_grids(paper_sa1b())] == [32**2, 16**2, 8**2]


def test_points_of_a_crop_are_in_its_own_pixels() -> None:
    crop = Crop(40, 20, 100, 60, layer=1)
    points = points_in_crop(point_grid(2), crop)
    assert points.tolist() == [[15, 10], [45, 10], [15, 30], [45, 30]]
    assert (points + np.array([crop.x0, crop.y0])).tolist() == [[55, 30], [85, 30], [55, 50], [85, 50]]


@pytest.mark.parametrize("points_per_side", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("downscale", [1, 2, 3])
def test_same_grids_as_the_published_code(points_per_side: int, downscale: int) -> None:
    install_torchvision_standin()
    from segment_anything.utils.amg import build_all_layer_point_grids

    layers = 2 if points_per_side >= downscale**2 else 0
    config = GeneratorConfig(
        points_per_side=points_per_side, crop_n_layers=layers, crop_n_points_downscale_factor=downscale
    )
    for mine, theirs in zip(
        layer_grids(config), build_all_layer_point_grids(points_per_side, layers, downscale), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_grid_without_points_is_an_error() -> None:
    with pytest.raises(InputError, match="at least one point"):
        point_grid(0)
