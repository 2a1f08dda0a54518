"""Where the generator clicks: a regular grid of points on the image and on each of its crops."""

import numpy as np
import numpy.typing as npt

from engine.masks.crops import Crop
from schemas.errors import InputError
from schemas.presets import GeneratorConfig


def point_grid(points_per_side: int) -> npt.NDArray[np.float64]:
    """(points_per_side ** 2, 2) points (x, y) in [0, 1], row by row, each in the middle of its cell.

    Raises InputError for a grid without points.
    """
    if points_per_side < 1:
        raise InputError(f"a point grid needs at least one point a side, not {points_per_side}")
    margin = 1 / (2 * points_per_side)
    ticks = np.linspace(margin, 1 - margin, points_per_side)
    return np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)


def layer_grids(config: GeneratorConfig) -> list[npt.NDArray[np.float64]]:
    """One grid for each crop layer, the full image (layer 0) first; see `GeneratorConfig.points_per_side`."""
    downscale = config.crop_n_points_downscale_factor
    return [point_grid(int(config.points_per_side / downscale**layer)) for layer in range(config.crop_n_layers + 1)]


def points_in_crop(grid: npt.NDArray[np.float64], crop: Crop) -> npt.NDArray[np.float64]:
    """(N, 2) points in pixels of the crop, for a grid (N, 2) in [0, 1]. Add (crop.x0, crop.y0) for the image's."""
    return grid * np.array([crop.width, crop.height])
