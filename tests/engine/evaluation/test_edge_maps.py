"""Edge maps of pictures that are known: a bright disc, a ramp, nothing."""

import numpy as np
import pytest
import torch

from engine.evaluation.edge_maps import canny_edges, mask_edges, model_edges, sobel_edges, thin_ridges
from model.predictor import Predictor
from tests.engine.evaluation.fakes import ThreeHalves

ROWS, COLUMNS = np.indices((80, 90))
AWAY = np.abs(np.hypot(ROWS - 40, COLUMNS - 45) - 25)  # px from the circle


def disc(inside: int = 200, outside: int = 60) -> np.ndarray:
    grey = np.where(np.hypot(ROWS - 40, COLUMNS - 45) < 25, inside, outside).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("detect", [canny_edges, sobel_edges])
def test_a_disc_has_one_thin_closed_edge(detect: object) -> None:
    found = detect(disc())  # type: ignore[operator]
    assert found.dtype == np.float32
    assert (AWAY[found > 0.2] < 1.6).all()
    angles = np.arctan2(ROWS - 40, COLUMNS - 45)[found > 0.2]
    assert np.diff(np.sort(angles)).max() < 0.12, "no gap"
    assert (found > 0.2).sum() < 2.2 * 2 * np.pi * 25


@pytest.mark.parametrize("detect", [canny_edges, sobel_edges])
def test_an_edge_is_worth_its_contrast_and_a_flat_picture_has_none(detect: object) -> None:
    assert not detect(np.full((30, 40, 3), 77, np.uint8)).any()  # type: ignore[operator]
    step = np.zeros((40, 60, 3), np.uint8)
    step[:, 30:] = 128
    found = detect(step)  # type: ignore[operator]
    assert found[20].max() == pytest.approx(0.5, abs=0.03)
    assert set(np.flatnonzero(found[20] > 0.1)) <= {29, 30}


def test_canny_keeps_weak_edges_that_hang_on_strong_ones() -> None:
    """An edge whose contrast falls from .8 to .4 along it is kept whole up to .8; a weak one alone is worth its own."""
    picture = np.zeros((120, 60), np.float32)
    picture[:, 30:] = np.linspace(0.8, 0.4, 120)[:, None]
    alone = np.zeros((120, 60), np.float32)
    alone[60:, 30:] = 0.4
    connected, weak = (
        canny_edges(np.repeat(np.rint(255 * each)[..., None], 3, 2).astype(np.uint8)) for each in (picture, alone)
    )
    assert connected[110, 28:32].max() > 0.7
    assert weak[110, 28:32].max() < 0.45


def test_a_mask_has_edges_around_it_alone() -> None:
    inside = np.zeros((20, 20), np.float32)
    inside[6:14, 6:14] = 1
    found = mask_edges(inside)
    assert found[6:14, 6:14].max() == 0
    assert (found[5, 6:14] > 0).all()
    assert found[4].max() == 0
    assert not mask_edges(np.full((20, 20), 0.9, np.float32)).any()
    soft = np.clip(inside, 0.2, 0.7)
    assert mask_edges(soft)[5, 10] == pytest.approx(found[5, 10] / 2)


def test_the_top_of_a_ridge_stays_in_any_direction() -> None:
    for angle in (0, 30, 45, 90, 120):
        along = np.deg2rad(angle)
        away = np.abs((COLUMNS - 45) * np.sin(along) - (ROWS - 40) * np.cos(along))
        found = thin_ridges(np.exp(-((away / 1.5) ** 2)).astype(np.float32))
        middle = np.hypot(ROWS - 40, COLUMNS - 45) < 25
        assert (away[middle & (found > 0.3)] < 1).all(), angle
        assert (found > 0.3)[middle].sum() >= 49 * max(abs(np.cos(along)), abs(np.sin(along))), angle


def test_the_model_has_the_edges_of_its_distinct_masks() -> None:
    """It answers every point with the left half of a square, the square and the whole picture, which has no edge."""
    found = model_edges(Predictor(ThreeHalves()), np.zeros((64, 64, 3), np.uint8), points_per_side=2)
    assert found.max() == 1
    rows, columns = np.nonzero(found > 0.3)
    assert rows.min() >= 13
    assert rows.max() <= 50
    assert columns.min() >= 13
    assert columns.max() <= 50
    middle = found[24:40]
    assert (middle[:, 13:18].max(axis=1) > 0.3).all()
    assert (middle[:, 46:51].max(axis=1) > 0.3).all()
    assert (middle[:, 30:34].max(axis=1) > 0.3).all(), "the half ends in the middle of the square"


def test_a_model_without_masks_has_no_edges() -> None:
    class Nothing(ThreeHalves):
        def decode(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            answer = super().decode(*args, **kwargs)  # type: ignore[arg-type]
            return answer._replace(logits=torch.full_like(answer.logits, -1.0))

    assert not model_edges(Predictor(Nothing()), np.zeros((64, 64, 3), np.uint8), points_per_side=2).any()  # type: ignore[arg-type]
