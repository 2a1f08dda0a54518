import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.labeling.contexts import OUR_TAGS, Click, DrawnBox, Prompt, Tags, read_context, read_tags
from schemas.labeling import MASKS_CONFIG, VERIFICATION_CONFIG
from tests.engine.labeling.bodies import CHOICES_CONFIG, JSON, OTHER_NAMES_CONFIG, box, point


def test_a_recorded_context() -> None:
    context = {
        "result": [
            {
                "id": "o8t1",
                "type": "keypointlabels",
                "from_name": "point",
                "to_name": "image",
                "original_width": 375,
                "original_height": 500,
                "image_rotation": 0,
                "is_positive": True,
                "origin": "manual",
                "value": {"x": 25.06, "y": 77.98, "width": 0.26, "keypointlabels": ["foreground"]},
            },
            point(10.0, 20.0, id="n", positive=False),
            box(64.96, 4.97, 27.02, 17.05, id="b"),
        ]
    }
    prompt = read_context(context)
    assert prompt.points == (Click("o8t1", 25.06, 77.98, 1), Click("n", 10.0, 20.0, 0))
    assert prompt.box == pytest.approx((64.96, 4.97, 91.98, 22.02))
    assert prompt.ids == ("o8t1", "n", "b")


def test_a_turned_box_by_hand() -> None:
    """20 by 10 px on 200 by 100 px, a quarter turned clockwise about (100, 50): 10 px to the left, 20 px down."""
    given_box = box(50.0, 50.0, 10.0, 10.0, id="b", rotation=90.0, width=200, height=100)
    assert read_context([given_box]).box == pytest.approx((45.0, 50.0, 50.0, 70.0))


def test_the_last_box_counts_and_all_stay_within_the_picture() -> None:
    prompt = read_context([box(0, 0, 10, 10, id="a"), box(-5, 50, 200, 10, id="b"), point(-3, 120, id="p")])
    assert prompt.box == (0.0, 50.0, 100.0, 60.0)
    assert prompt.points == (Click("p", 0.0, 100.0, 1),)


def test_prompts_without_an_id_are_known_by_their_place() -> None:
    one, same, other = ({**point(x, 2, id=""), "id": None} for x in (1, 1, 3))
    assert read_context([one]).ids == read_context([same]).ids != read_context([other]).ids


KEYS = ["id", "type", "value", "is_positive", "image_rotation", "original_width", "original_height"]
VALUES = ["x", "y", "width", "height", "rotation"]


@st.composite
def odd_regions(draw: st.DrawFn) -> Any:
    region: dict[str, Any] = draw(st.sampled_from([point(1, 2, id="p"), box(1, 2, 3, 4, id="b", rotation=5)]))
    region = json.loads(json.dumps(region))
    part, keys = draw(st.sampled_from([(region, KEYS), (region["value"], VALUES)]))
    part[draw(st.sampled_from(keys))] = draw(JSON)
    return region


@given(JSON | odd_regions() | st.lists(odd_regions() | JSON, max_size=3))
def test_any_context_can_be_read(context: Any) -> None:
    for given_context in (context, {"result": context}, [context]):
        prompt = read_context(given_context)
        numbers = [side for click in prompt.points for side in (click.x, click.y)]
        numbers += [side for drawn in prompt.boxes for side in drawn.xyxy]
        assert all(0 <= number <= 100 for number in numbers)
        hash(prompt)


@pytest.mark.parametrize(
    ("config", "tags"),
    [
        (MASKS_CONFIG, OUR_TAGS),
        ("", OUR_TAGS),
        (OTHER_NAMES_CONFIG, Tags("tag", "photo", "thing", "picture")),
        (CHOICES_CONFIG, None),
        (VERIFICATION_CONFIG, None),
        ("<View><BrushLabels name='a' toName='b'/></View>", None),
        ("<View>", None),
        ("no xml", None),
    ],
)
def test_names_come_from_the_labelling_config(config: str, tags: Tags | None) -> None:
    assert read_tags(config) == tags


def test_prompts_can_be_compared() -> None:
    prompt = Prompt((Click("a", 1.0, 2.0, 1),), (DrawnBox("b", (0.0, 0.0, 5.0, 5.0)),))
    assert prompt.parts == Prompt(prompt.points, prompt.boxes).parts
    assert prompt.repeated_click is None
    assert Prompt(prompt.points).repeated_click == prompt.points[0]
