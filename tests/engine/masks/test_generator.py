"""The mask generator: which masks it finds, where they lie, and why the others went."""

from typing import Any

import numpy as np
import pytest
import skimage.data

from engine import rle
from engine.masks.filters import REASONS
from engine.masks.generator import GenerationResult, MaskGenerator
from schemas.errors import InputError
from schemas.presets import GeneratorConfig, paper_sa1b
from tests.engine.masks.scripted import Answer, Scripted, box_mask, coordinates, real, run


@pytest.fixture(scope="module")
def astronaut() -> GenerationResult:
    """The preset of the paper, with one layer of crops and grids of 4 and 2 points a side, on 512 x 512 px."""
    return real(skimage.data.astronaut(), "paper-sa1b", points_per_side=4, crop_n_layers=1)


def test_every_mask_is_kept_or_dropped_for_one_reason(astronaut: GenerationResult) -> None:
    prompted = 3 * (4**2 + 4 * 2**2)
    assert list(astronaut.dropped) == list(REASONS)
    assert len(astronaut.masks) + sum(astronaut.dropped.values()) == prompted
    assert len(astronaut.masks) > 5
    assert list(astronaut.seconds) == ["decode_image", "encode", "prompt_decode", "filter", "nms", "rle"]
    assert astronaut.seconds["decode_image"] == 0
    assert all(seconds > 0 for phase, seconds in astronaut.seconds.items() if phase != "decode_image")


def test_what_a_mask_says_of_itself_agrees_with_its_pixels(astronaut: GenerationResult) -> None:
    for mask in astronaut.masks:
        pixels = rle.decode(mask.rle)
        assert pixels.shape == (512, 512)
        assert mask.area == pixels.sum() < 0.95 * pixels.size
        rows, columns = np.nonzero(pixels)
        assert mask.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        x0, y0, x1, y1 = mask.crop_box
        ((x, y, label),) = mask.prompt.points
        assert label == 1
        assert x0 <= x < x1
        assert y0 <= y < y1
        assert mask.predicted_iou > 0.88
        assert mask.stability_score >= 0.95


def test_points_lie_on_the_whole_of_every_crop() -> None:
    # 200 x 100 px: crops of 117 x 67 at x = 0 and 83, y = 0 and 33. A grid left in crop pixels never gets beyond 117.
    image = coordinates(100, 200)
    predictor = Scripted(image, lambda x, y, whole: [(np.zeros((100, 200), dtype=bool), 0.0)] * 3)
    config = GeneratorConfig(points_per_side=2, crop_n_layers=1)
    MaskGenerator(predictor, config).generate(image)
    whole = [(50, 25), (150, 25), (50, 75), (150, 75)]
    top_left = [(29.25, 16.75), (87.75, 16.75), (29.25, 50.25), (87.75, 50.25)]
    assert predictor.prompts[:8] == whole + top_left
    assert predictor.prompts[-4:] == [(112.25, 49.75), (170.75, 49.75), (112.25, 83.25), (170.75, 83.25)]


def test_masks_of_a_crop_come_back_in_the_frame_of_the_image() -> None:
    image = coordinates(100, 200)
    thing = box_mask((100, 200), 150, 60, 170, 80)
    nothing = np.zeros_like(thing)

    def script(x: float, y: float, whole: bool) -> list[Answer]:
        return [(thing if not whole and x > 140 and y > 70 else nothing, 0.9)] * 3

    predictor = Scripted(image, script)
    result = MaskGenerator(predictor, GeneratorConfig(points_per_side=2, crop_n_layers=1)).generate(image)
    (mask,) = result.masks
    np.testing.assert_array_equal(rle.decode(mask.rle), thing)
    assert mask.box == (150, 60, 170, 80)
    assert mask.crop_box == (83, 33, 200, 100)
    assert mask.prompt.points == ((170.75, 83.25, 1),)


def test_of_two_crops_the_more_zoomed_one_wins() -> None:
    image = coordinates(100, 200)
    loose, tight = box_mask((100, 200), 25, 20, 65, 40), box_mask((100, 200), 26, 20, 64, 40)
    nothing = np.zeros_like(loose)

    def script(x: float, y: float, whole: bool) -> list[Answer]:
        if whole:
            return [(loose, 0.99), (nothing, 0.0), (nothing, 0.0)]
        return [(tight if x < 60 and y < 30 else nothing, 0.9), (nothing, 0.0), (nothing, 0.0)]

    predictor = Scripted(image, script)
    result = MaskGenerator(predictor, GeneratorConfig(points_per_side=2, crop_n_layers=1)).generate(image)
    assert [mask.predicted_iou for mask in result.masks] == [pytest.approx(0.9)]
    assert result.dropped["duplicate_within_crop"] == 3  # the four points of the full image gave the same mask
    assert result.dropped["duplicate_across_crops"] == 1


def test_masks_come_best_first() -> None:
    hw = (50, 60)
    things = [box_mask(hw, 0, 0, 9, 9), box_mask(hw, 20, 20, 29, 29), box_mask(hw, 40, 40, 49, 49)]
    result = run(coordinates(*hw), list(zip(things, [0.9, 0.95, 0.92], strict=True)))
    assert [round(mask.predicted_iou, 2) for mask in result.masks] == [0.95, 0.92, 0.9]


def test_the_full_image_is_a_mask_for_the_library_and_none_for_the_paper() -> None:
    hw = (20, 20)
    full, nothing = np.ones(hw, dtype=bool), np.zeros(hw, dtype=bool)
    answers = [(full, 0.95), (nothing, 0.95), (nothing, 0.5)]
    by_library = run(coordinates(*hw), answers)
    assert [mask.area for mask in by_library.masks] == [400]
    by_paper = run(coordinates(*hw), answers, max_mask_area_frac=0.95)
    assert not by_paper.masks
    dropped = by_paper.dropped
    assert (dropped["full_image"], dropped["empty"], dropped["predicted_iou"]) == (1, 1, 1)


def test_a_hole_that_is_filled_may_make_a_mask_of_the_full_image() -> None:
    hw = (40, 40)
    nearly = np.ones(hw, dtype=bool)
    nearly[10:19, 10:19] = False  # 81 of 1600 pixels: 94.9 % are left, all once the hole is filled
    answers = [(nearly, 0.95), (nearly, 0.1), (nearly, 0.1)]
    assert len(run(coordinates(*hw), answers, max_mask_area_frac=0.95).masks) == 1
    cleaned = run(coordinates(*hw), answers, max_mask_area_frac=0.95, min_mask_region_area=100)
    assert not cleaned.masks
    assert cleaned.dropped["full_image"] == 1


def test_a_small_mask_is_dropped_by_the_paper_and_kept_by_the_library() -> None:
    hw = (60, 60)
    small, large = box_mask(hw, 2, 2, 11, 11), box_mask(hw, 30, 30, 50, 50)
    answers = [(small, 0.99), (large, 0.9), (large, 0.1)]
    by_library = run(coordinates(*hw), answers, min_mask_region_area=100)
    assert [mask.area for mask in by_library.masks] == [400, 81]  # the small one counts as changed: it comes last
    by_paper = run(coordinates(*hw), answers, min_mask_region_area=100, drop_small_masks=True)
    assert [mask.area for mask in by_paper.masks] == [400]
    assert by_paper.dropped["small_region"] == 1


def test_of_duplicates_that_cleaning_makes_the_one_that_needed_none_stays() -> None:
    hw = (80, 80)
    clean = box_mask(hw, 10, 10, 40, 40)
    speckled = box_mask(hw, 10, 10, 41, 40)
    speckled[70:73, 70:73] = True  # a speck that makes the box so large that box NMS misses the pair
    result = run(coordinates(*hw), [(speckled, 0.99), (clean, 0.9), (clean, 0.1)], min_mask_region_area=100)
    assert [round(mask.predicted_iou, 2) for mask in result.masks] == [0.9]
    assert result.dropped["duplicate_after_cleaning"] == 1
    assert result.dropped["duplicate_within_crop"] == 0


def test_cleaning_updates_mask_area_and_box() -> None:
    hw = (80, 80)
    speckled = box_mask(hw, 10, 10, 40, 40)
    speckled[70, 70] = True
    speckled[20, 20] = False
    (mask,) = run(coordinates(*hw), [(speckled, 0.99)] * 3, min_mask_region_area=100).masks
    np.testing.assert_array_equal(rle.decode(mask.rle), box_mask(hw, 10, 10, 40, 40))
    assert (mask.area, mask.box) == (900, (10, 10, 40, 40))


def test_empty_masks_are_dropped_even_where_no_stability_is_asked() -> None:
    nothing = np.zeros((9, 9), dtype=bool)
    result = run(coordinates(9, 9), [(nothing, 0.9)] * 3, stability_score_thresh=0.0)
    assert not result.masks
    assert result.dropped["empty"] == 3


def test_no_confident_mask_is_an_empty_result() -> None:
    thing = box_mask((9, 9), 1, 1, 5, 5)
    result = run(coordinates(9, 9), [(thing, 0.5)] * 3, crop_n_layers=1, min_mask_region_area=4)
    assert result.masks == []
    assert result.dropped["predicted_iou"] == 3 * 5


@pytest.mark.parametrize("hw", [(1, 1), (2, 3), (1, 3000)])
def test_tiny_pictures_work_without_crops(hw: tuple[int, int]) -> None:
    result = real(np.full((*hw, 3), 200, dtype=np.uint8), points_per_side=2)
    assert all(mask.rle[:2] == hw for mask in result.masks)
    assert len(result.masks) + sum(result.dropped.values()) == 12


def test_a_picture_too_small_for_its_crops_is_an_error() -> None:
    with pytest.raises(InputError, match="1x1 image is too small for 2 crops a side; set crop_n_layers below 1"):
        real(np.zeros((1, 1, 3), dtype=np.uint8), "paper-sa1b")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 5, 3), dtype=np.uint8),
        np.zeros((5, 5), dtype=np.uint8),
        np.zeros((5, 5, 4), dtype=np.uint8),
        np.zeros((5, 5, 3), dtype=np.float32),
    ],
)
def test_what_is_no_picture_is_an_error(image: Any) -> None:
    with pytest.raises(InputError, match="image: expected"):
        real(image)


@pytest.mark.parametrize("where", ["predicted IoUs", "mask logits"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_model_is_an_error_and_no_empty_result(where: str, value: float) -> None:
    image = coordinates(30, 30)
    thing = box_mask((30, 30), 0, 0, 9, 9)
    predictor = Scripted(image, lambda x, y, whole: [(thing, value if where == "predicted IoUs" else 0.9)] * 3)
    predictor.gain = value if where == "mask logits" else 1.0
    with pytest.raises(InputError, match=f"{where} that are not finite"):
        MaskGenerator(predictor, paper_sa1b().model_copy(update={"crop_n_layers": 0})).generate(image)


def test_mask_nms_drops_near_duplicates_that_box_nms_does_not_see() -> None:
    """An island far away makes the boxes differ; the masks are the same but for 4 of 400 pixels."""
    image = coordinates(60, 80)
    body = box_mask((60, 80), 5, 5, 25, 25)
    with_island = body | box_mask((60, 80), 70, 50, 72, 52)
    answers = [(with_island, 0.95), (body, 0.97), (box_mask((60, 80), 40, 10, 60, 30), 0.92)]
    off = run(image, answers)
    on = run(image, answers, mask_nms_thresh=0.9)
    assert [mask.predicted_iou for mask in off.masks] == pytest.approx([0.97, 0.95, 0.92])
    assert on.masks == [off.masks[0], off.masks[2]]
    assert (off.dropped["duplicate_mask"], on.dropped["duplicate_mask"]) == (0, 1)


def test_no_two_masks_of_a_result_overlap_by_more_than_the_threshold(astronaut: GenerationResult) -> None:
    image = skimage.data.astronaut()
    settings = {"points_per_side": 4, "crop_n_layers": 1}
    off = real(image, "paper-sa1b", box_nms_thresh=1.0, crop_nms_thresh=1.0, **settings)
    on = real(image, "paper-sa1b", box_nms_thresh=1.0, crop_nms_thresh=1.0, mask_nms_thresh=0.8, **settings)
    rles = [mask.rle for mask in on.masks]
    overlaps = rle.iou_matrix(rles, rles)
    np.fill_diagonal(overlaps, 0)
    assert overlaps.max() <= 0.8
    assert 1 < len(on.masks) == len(off.masks) - on.dropped["duplicate_mask"] < len(off.masks)
    assert [mask for mask in off.masks if mask in on.masks] == on.masks, "their order stays"


def test_cleaning_before_crops_are_compared_changes_nothing_without_crops() -> None:
    image = skimage.data.astronaut()
    settings = {"points_per_side": 4, "min_mask_region_area": 100}
    assert real(image, **settings).masks == real(image, clean_before_crop_nms=True, **settings).masks


def test_cleaned_before_crops_are_compared_a_mask_with_an_island_is_found_to_be_a_duplicate() -> None:
    """The full image sees an island that the crop does not: the boxes differ until it is gone."""
    image = coordinates(120, 160)
    body, island = box_mask(image.shape[:2], 25, 25, 55, 45), box_mask(image.shape[:2], 150, 110, 152, 112)

    def script(x: float, y: float, whole: bool) -> list[Answer]:
        return [((body | island) if whole else body, 0.95)]

    def found(**settings: Any) -> GenerationResult:
        config = GeneratorConfig(
            points_per_side=1, crop_n_layers=1, min_mask_region_area=10, box_nms_thresh=0.99, **settings
        )
        return MaskGenerator(Scripted(image, script), config).generate(image)

    after, before = found(), found(clean_before_crop_nms=True)
    assert after.dropped["duplicate_after_cleaning"] + after.dropped["duplicate_across_crops"] >= 1
    assert before.dropped["duplicate_across_crops"] >= 1
    assert before.dropped["duplicate_after_cleaning"] == 0
    assert {mask.rle for mask in before.masks} == {rle.encode(body)}
    assert all(mask.crop_box != (0, 0, 160, 120) for mask in before.masks), "the most zoomed one stays"


def test_coverage_and_nesting_of_a_result() -> None:
    image = coordinates(60, 80)
    outer, inner = box_mask((60, 80), 0, 0, 40, 60), box_mask((60, 80), 10, 10, 20, 20)
    answers = [(inner, 0.95), (outer, 0.9)]
    assert run(image, answers).parents is None
    result = run(image, answers, store_nesting=True)
    assert result.parents == [1, None]
    assert result.coverage_frac == run(image, answers).coverage_frac == 0.5
    nothing = run(image, [(inner, 0.1)], store_nesting=True)
    assert (nothing.masks, nothing.parents, nothing.coverage_frac) == ([], [], 0.0)
