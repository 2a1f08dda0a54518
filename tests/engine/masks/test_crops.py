import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.masks.crops import Crop, make_crops
from schemas.errors import InputError
from tests.peers.torchvision_standin import install_torchvision_standin

PAPER_OVERLAP = 512 / 1500


def test_no_layers_give_the_image() -> None:
    assert make_crops((60, 100), n_layers=0, overlap_ratio=PAPER_OVERLAP) == [Crop(0, 0, 100, 60, layer=0)]


def test_first_layer_by_hand() -> None:
    # Short side 60: neighbours overlap by int(0.341 * 60) = 20 px; windows are (100 + 20) / 2 by (60 + 20) / 2.
    crops = make_crops((60, 100), n_layers=1, overlap_ratio=PAPER_OVERLAP)
    assert [crop.box for crop in crops] == [
        (0, 0, 100, 60),
        (0, 0, 60, 40),
        (0, 20, 60, 60),
        (40, 0, 100, 40),
        (40, 20, 100, 60),
    ]
    assert [crop.layer for crop in crops] == [0, 1, 1, 1, 1]


def test_odd_sizes_round_up_and_the_last_window_is_cut() -> None:
    # 101 px: windows of ceil(121 / 2) = 61 px, 41 apart; the second would end at 102.
    crops = make_crops((61, 101), n_layers=1, overlap_ratio=PAPER_OVERLAP)
    assert crops[4].box == (41, 21, 101, 61)
    assert (crops[4].width, crops[4].height) == (60, 40)


def test_second_layer_of_an_sa1b_picture_by_hand() -> None:
    # Short side 1500: overlap 512 px in layer 1, 256 in layer 2; windows ceil((768 + 2250) / 4) = 755 by 567.
    crops = make_crops((1500, 2250), n_layers=2, overlap_ratio=PAPER_OVERLAP)
    assert len(crops) == 1 + 4 + 16
    assert crops[1].box == (0, 0, 1381, 1006)
    second = [crop.box for crop in crops if crop.layer == 2]
    assert second[0] == (0, 0, 755, 567)
    assert second[1] == (0, 311, 755, 878)
    assert second[4] == (499, 0, 1254, 567)
    assert second[15] == (1497, 933, 2250, 1500)


@given(
    height=st.integers(40, 3000),
    width=st.integers(40, 3000),
    n_layers=st.integers(0, 3),
    overlap_ratio=st.floats(0, 0.6),
)
def test_same_crops_as_the_published_code(height: int, width: int, n_layers: int, overlap_ratio: float) -> None:
    install_torchvision_standin()
    from segment_anything.utils.amg import generate_crop_boxes

    boxes, layers = generate_crop_boxes((height, width), n_layers, overlap_ratio)
    crops = make_crops((height, width), n_layers=n_layers, overlap_ratio=overlap_ratio)
    assert [list(crop.box) for crop in crops] == boxes
    assert [crop.layer for crop in crops] == layers


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 300), (2, 2), (300, 3)])
def test_a_picture_too_small_for_its_crops_is_an_error(image_hw: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"too small for .* crops a side; set crop_n_layers below"):
        make_crops(image_hw, n_layers=2, overlap_ratio=PAPER_OVERLAP)


def test_a_picture_without_pixels_is_an_error() -> None:
    with pytest.raises(InputError, match="at least one pixel"):
        make_crops((0, 10), n_layers=0, overlap_ratio=PAPER_OVERLAP)
