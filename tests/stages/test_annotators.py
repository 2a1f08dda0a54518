"""The simulated annotator at images whose answers can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from engine import rle as rle_codec
from schemas.config import AnnotatorConfig
from schemas.mask import Mask, Prompt
from schemas.rle import Rle
from stages.annotators import ImageWork, SimulatedAnnotator
from tests.stages.fakes import RegionPredictor

CONFIG = AnnotatorConfig(
    max_clicks=3,
    accept_iou=0.9,
    seconds_to_find=3,
    seconds_per_click=2,
    seconds_to_review=1,
    seconds_to_draw=20,
    seconds_per_mask_limit=30,
)
LABELS = np.zeros((32, 32), dtype=int)
LABELS[2:12, 2:12] = 1
LABELS[2:12, 12:22] = 2
LABELS[20:26, 2:8] = 3


def region(*numbers: int) -> Rle:
    return rle_codec.encode(np.isin(LABELS, numbers))


def prefilled(mask: np.ndarray, *, x: float, y: float, predicted_iou: float = 0.9) -> Mask:
    made = rle_codec.measured(rle_codec.encode(mask))
    prompt = Prompt(points=((x, y, 1),))
    return replace(made, prompt=prompt, predicted_iou=predicted_iou, stability_score=0.97, origin="automatic")


def annotate(targets, *, config=CONFIG, shown=(), spoil=False, clock_s=0.0):  # type: ignore[no-untyped-def]
    image = RegionPredictor(LABELS, spoil=spoil)
    rng = np.random.default_rng(0)
    return SimulatedAnnotator(config).annotate(image, targets, rng=rng, prefilled=shown, clock_s=clock_s, model_id="m")


def kinds(work: ImageWork) -> list[str]:
    return [event.kind for event in work.events]


def test_objects_are_clicked_in_order_of_prominence_and_timed() -> None:
    work = annotate([region(3), region(1, 2)], clock_s=100)
    assert [mask.rle for mask in work.masks] == [region(1, 2), region(3)]
    assert [mask.clicks for mask in work.masks] == [2, 1]
    assert [mask.seconds for mask in work.masks] == [3 + 2 * 2 + 1, 3 + 2 + 1]
    assert [mask.origin for mask in work.masks] == ["manual", "manual"]
    assert kinds(work) == ["prompt", "prompt", "accept", "prompt", "accept"]
    assert [event.at_s for event in work.events] == [105, 107, 108, 113, 114]
    assert [event.mask for event in work.events] == [0, 0, 0, 1, 1]
    details = [event.detail for event in work.events if event.kind == "accept"]
    assert details == [{"clicks": 2, "iou": 1.0}, {"clicks": 1, "iou": 1.0}]
    assert work.clock_s == 114


def test_the_time_of_the_events_is_the_time_of_the_masks() -> None:
    work = annotate([region(1, 2), region(3)], shown=[prefilled(LABELS == 1, x=5, y=5)])
    assert sum(event.seconds for event in work.events) == pytest.approx(work.clock_s)
    assert sum(mask.seconds for mask in work.masks) == pytest.approx(work.clock_s)


def test_what_clicks_do_not_reach_is_drawn_by_hand() -> None:
    work = annotate([region(1), region(3)], spoil=True)
    assert [mask.rle for mask in work.masks] == [region(1), region(3)]
    for mask in work.masks:
        assert mask.model_id == ""
        assert mask.prompt == Prompt()
        assert mask.clicks == 3
        assert mask.seconds == 3 + 3 * 2 + 20
    assert kinds(work) == ["prompt", "prompt", "prompt", "draw"] * 2


def test_a_mask_over_the_limit_ends_the_image() -> None:
    slow = CONFIG.model_copy(update={"seconds_to_draw": 22.0})
    ended = annotate([region(1), region(3)], config=slow, spoil=True)
    assert [mask.seconds for mask in ended.masks] == [31]
    assert kinds(ended) == ["prompt", "prompt", "prompt", "draw", "skip"]
    assert ended.events[-1].detail["limit_s"] == 30


def test_an_object_that_has_a_mask_is_not_clicked_again() -> None:
    nearly = LABELS == 1
    nearly[2, 2] = False
    work = annotate([region(1), rle_codec.encode(nearly)])
    assert [mask.rle for mask in work.masks] == [region(1)]


def test_prefilled_masks_are_kept_edited_or_deleted_by_how_well_they_show_an_object() -> None:
    two_thirds = (LABELS == 1) | (LABELS == 2)
    two_thirds[2:12, 16:] = False
    shown = [
        prefilled(LABELS == 3, x=4, y=22),
        prefilled(two_thirds, x=5, y=5),
        prefilled(LABELS == 0, x=30, y=30),
        prefilled(LABELS == 3, x=5, y=23),
    ]
    work = annotate([region(1, 2), region(3)], shown=shown)
    assert [mask.origin for mask in work.masks] == ["automatic", "automatic_corrected"]
    kept, edited = work.masks
    assert (kept.rle, kept.clicks, kept.seconds) == (region(3), 0, 1)
    assert kept.prompt == Prompt(points=((4.0, 22.0, 1),))
    assert kept.stability_score == pytest.approx(0.97)
    assert edited.rle == region(1, 2)
    assert edited.clicks == 1
    assert edited.seconds == 1 + 2 + 1
    assert edited.prompt.mask == shown[1].rle
    assert edited.prompt.points[0] == (5.0, 5.0, 1), "editing goes on from the prefilled mask's own prompt"
    assert kinds(work) == ["accept", "delete", "delete", "prompt", "edit"]


def test_edits_feed_the_prefilled_mask_back_to_the_model() -> None:
    image = RegionPredictor(LABELS)
    half = (LABELS == 1) | (LABELS == 2)
    half[2:12, 16:] = False
    SimulatedAnnotator(CONFIG).annotate(
        image, [region(1, 2)], rng=np.random.default_rng(0), prefilled=[prefilled(half, x=5, y=5)]
    )
    call = image.calls[0]
    assert call["multimask"] is False
    assert call["mask_input"].shape == (1, 8, 8)  # type: ignore[attr-defined]
    assert call["mask_input"][0, 1, 1] > 0 > call["mask_input"][0, 7, 7]  # type: ignore[index]


def test_what_is_not_mended_in_time_is_deleted() -> None:
    slow = CONFIG.model_copy(update={"seconds_to_draw": 34.0})
    first, second = LABELS == 1, LABELS == 2
    first[2:5], second[2:5] = False, False
    shown = [prefilled(first, x=5, y=8), prefilled(second, x=15, y=8)]
    work = annotate([region(1), region(2), region(3)], config=slow, shown=shown, spoil=True)
    assert [mask.origin for mask in work.masks] == ["automatic_corrected"]
    assert kinds(work)[-2:] == ["skip", "delete"]


def test_an_image_without_ground_truth_is_skipped_and_says_so() -> None:
    work = annotate([], shown=[prefilled(LABELS == 1, x=5, y=5)])
    assert work.masks == []
    (event,) = work.events
    assert event.kind == "skip"
    assert event.detail["reason"] == "no ground truth"


def test_equal_seeds_give_equal_work() -> None:
    assert annotate([region(1, 2), region(3)]) == annotate([region(1, 2), region(3)])


def test_a_mask_that_came_from_a_box_is_mended_from_the_middle_of_the_box() -> None:
    half = (LABELS == 1) | (LABELS == 2)
    half[2:12, 16:] = False
    shown = replace(prefilled(half, x=5, y=5), prompt=Prompt(box=(2.0, 2.0, 16.0, 12.0)))
    image = RegionPredictor(LABELS)
    work = SimulatedAnnotator(CONFIG).annotate(
        image, [region(1, 2)], rng=np.random.default_rng(0), prefilled=[shown], model_id="m"
    )
    assert tuple(image.calls[0]["points"][0]) == (9.0, 7.0)  # type: ignore[index]
    (mended,) = work.masks
    assert mended.prompt.points[0] == (9.0, 7.0, 1)
    assert mended.prompt.mask == shown.rle


def test_nobody_looks_for_more_where_time_is_up() -> None:
    slow = CONFIG.model_copy(update={"seconds_to_draw": 34.0})
    first = LABELS == 1
    first[2:5] = False
    work = annotate([region(1), region(3)], config=slow, shown=[prefilled(first, x=5, y=8)], spoil=True)
    assert [mask.rle for mask in work.masks] == [region(1)]
    assert work.events[-1].kind == "skip"


def test_an_image_without_objects_is_passed_over() -> None:
    work = annotate([], shown=[prefilled(LABELS == 1, x=5, y=5)], clock_s=7)
    assert work.masks == []
    (event,) = work.events
    assert (event.kind, event.seconds, event.at_s) == ("skip", 0.0, 7)
    assert event.detail == {"reason": "no ground truth", "prefilled": 1}


def nested(pixels: int) -> Rle:
    """The first pixels of region 1, of which there are 100."""
    mask = np.zeros_like(LABELS, dtype=bool)
    mask[2:12, 2:12] = np.arange(100).reshape(10, 10) < pixels
    return rle_codec.encode(mask)


@pytest.mark.parametrize(("pixels", "said"), [(90, "accept"), (89, "prompt"), (50, "prompt"), (49, "delete")])
def test_what_is_kept_mended_or_thrown_away_begins_at_its_iou(pixels: int, said: str) -> None:
    """IoUs .9, .89, .5 and .49 with the object."""
    shown = prefilled(rle_codec.decode(nested(pixels)), x=5, y=2)
    work = annotate([region(1)], shown=[shown])
    assert kinds(work)[0] == said
    assert [mask.rle for mask in work.masks] == [nested(90) if said == "accept" else region(1)]


def test_an_object_is_shown_by_a_mask_from_the_accepted_iou_on() -> None:
    exactly, less = (annotate([region(1), nested(pixels)], config=CONFIG) for pixels in (90, 89))
    assert [mask.rle for mask in exactly.masks] == [region(1)]
    assert len(less.masks) == 2


def test_what_a_click_says_is_in_its_events_and_in_the_mask() -> None:
    nearly = LABELS == 3
    nearly[20, 2] = False
    work = annotate([rle_codec.encode(nearly)])
    (mask,) = work.masks
    assert (mask.predicted_iou, mask.model_id, mask.generator_config) == (pytest.approx(0.8), "m", "")
    assert mask.rle == region(3)
    prompt, accept = work.events
    ((x, y, label),) = mask.prompt.points
    assert prompt.detail == {"x": x, "y": y, "label": label}
    assert accept.detail == {"clicks": 1, "iou": 0.9722}
    assert (work.events[0].at_s, work.clock_s) == (5, 6), "a clock that nobody set begins at 0"


def test_a_mask_that_is_thrown_away_says_how_sure_the_model_was_of_it() -> None:
    shown = prefilled(LABELS == 0, x=30, y=30, predicted_iou=0.123456)
    work = annotate([region(1)], shown=[shown])
    deleted = work.events[0]
    assert (deleted.kind, deleted.seconds, deleted.mask) == ("delete", 1, None)
    assert deleted.detail == {"reason": "shows no object", "predicted_iou": 0.1235}


def test_a_mask_that_takes_just_the_limit_does_not_end_the_image() -> None:
    just = CONFIG.model_copy(update={"seconds_per_mask_limit": 29.0})
    assert len(annotate([region(1), region(3)], config=just, spoil=True).masks) == 2


def test_what_was_left_unfinished_says_why() -> None:
    slow = CONFIG.model_copy(update={"seconds_to_draw": 34.0})
    shown = [prefilled(rle_codec.decode(nested(80)), x=5, y=2), prefilled(LABELS[:, ::-1] == 1, x=25, y=5)]
    second = rle_codec.encode((LABELS[:, ::-1] == 1) & (np.arange(32) < 28))
    work = annotate([region(1), second], config=slow, shown=shown, spoil=True)
    limit, left = work.events[-2:]
    assert (limit.kind, limit.detail) == ("skip", {"reason": "a mask took over the limit", "limit_s": 30.0})
    assert (left.kind, left.detail["reason"]) == ("delete", "left unfinished: out of time")


def test_a_mended_mask_is_the_detectors_in_part_and_each_click_is_timed() -> None:
    shown = replace(prefilled((LABELS == 1) | (LABELS == 2), x=5, y=5), generator_config="settings")
    work = annotate([region(1, 2, 3)], shown=[shown], config=CONFIG.model_copy(update={"accept_iou": 1.0}))
    (mended,) = work.masks
    assert (mended.generator_config, mended.model_id, mended.clicks) == ("settings", "m", 2)
    assert mended.seconds == 1 + 2 * 2 + 1
    assert [event.seconds for event in work.events] == [1 + 2, 2, 1]
    assert [(event.detail["x"], event.detail["y"]) for event in work.events[:2]] == [
        (x, y) for x, y, _ in mended.prompt.points[1:]
    ]
    assert work.events[-1].detail == {"clicks": 2, "iou": 1.0}


def test_the_limits_of_the_settings_are_those_of_clicking() -> None:
    once = annotate([region(1, 2)], config=CONFIG.model_copy(update={"max_clicks": 1}))
    assert kinds(once) == ["prompt", "draw"]
    easy = annotate([region(1, 2)], config=CONFIG.model_copy(update={"accept_iou": 0.5}))
    assert kinds(easy) == ["prompt", "accept"]
