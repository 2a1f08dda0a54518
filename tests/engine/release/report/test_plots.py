"""The plots show the numbers that were counted, the release first."""

import numpy as np
import pytest

from engine.release.report.plots import (
    centres_figure,
    concavity_figure,
    per_picture_figure,
    per_picture_labels,
    sizes_figure,
)
from engine.release.report.properties import MaskProperties


def dataset(name: str, per_picture: list[int], area: int) -> MaskProperties:
    """Masks of one area in the middle of pictures of 100x100."""
    found, count = MaskProperties(name), sum(per_picture)
    found.add_pictures(np.array(per_picture))
    boxes, numbers = np.tile([40.0, 40.0, 60.0, 60.0], (count, 1)), np.arange(count)
    found.add_masks(boxes, np.full(count, area), np.full((count, 2), 100), keys=numbers, items=numbers)
    return found


@pytest.fixture
def datasets() -> list[MaskProperties]:
    return [dataset("release", [1, 4, 4, 300], 100), dataset("reference", [7, 7], 2500)]


def test_labels_of_masks_per_picture() -> None:
    assert per_picture_labels() == ["0–2", "3–5", "6–10", "11–20", "21–50", "51–100", "101–200", "> 200"]


def test_bars_are_shares_of_pictures_side_by_side(datasets: list[MaskProperties]) -> None:
    (axes,) = per_picture_figure(datasets).axes
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[0.25, 0.5, 0, 0, 0, 0, 0, 0.25], [0, 0, 1, 0, 0, 0, 0, 0]]
    first, second = ([bar.get_x() for bar in bars] for bars in axes.containers)
    assert all(left < right < left + 1 for left, right in zip(first, second, strict=True))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["release", "reference"]


def test_each_dataset_has_its_map_in_one_scale(datasets: list[MaskProperties]) -> None:
    figure = centres_figure(datasets)
    maps = [axes.images[0] for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in figure.axes if axes.images] == ["release", "reference"]
    for image in maps:
        density = np.asarray(image.get_array())
        side = len(density)
        assert np.argwhere(density).tolist() == [[side // 2, side // 2]]
    assert len({image.get_clim() for image in maps}) == 1


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_any_number_of_maps_is_drawn(count: int) -> None:
    figure = centres_figure([dataset(str(number), [3], 100) for number in range(count)])
    assert sum(bool(axes.images) for axes in figure.axes) == count


def test_sizes_are_where_they_belong(datasets: list[MaskProperties]) -> None:
    (axes,) = sizes_figure(datasets).axes
    curves = [patch.get_data() for patch in axes.patches]
    places = [int(np.nanargmax(curve.values)) for curve in curves]
    assert [float(curve.edges[place]) for curve, place in zip(curves, places, strict=True)] == pytest.approx([0.1, 0.5])
    assert axes.get_yscale() == "log"


def test_concavities_are_shares_of_the_sample() -> None:
    (axes,) = concavity_figure({"release": np.array([0.0, 0.01, 0.26, 0.99]), "empty": np.array([])}).axes
    first, second = (patch.get_data().values for patch in axes.patches)
    assert np.flatnonzero(first).tolist() == [0, 5, 19]
    assert first[[0, 5, 19]].tolist() == [0.5, 0.25, 0.25]
    assert not second.any()
