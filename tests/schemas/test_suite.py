"""A suite's file: what may stand in it, and what is said of what may not."""

from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.suite import Suite, SuiteSet, parse_suite
from tests.documents import ROOT, blocks

FILE = Path("somewhere/suite.yaml")
LEAST = "sets: {a: {coco: a.json}}\nmodels: nano\noutput: out\n"


def parsed(text: str) -> Suite:
    return parse_suite(text.encode(), file=FILE)


def test_what_is_left_out_is_the_default_and_paths_begin_at_the_file() -> None:
    suite = parsed(LEAST)
    assert suite.sets == {"a": SuiteSet(coco=("somewhere/a.json",))}
    assert (suite.models, suite.baselines, suite.clicks) == (("nano",), (), (1, 2, 3, 5, 9))
    assert (suite.first_point, suite.boxes, suite.seed, suite.output) == ("centre", True, 0, "somewhere/out")


def test_every_key() -> None:
    suite = parsed(
        "sets:\n"
        "  a: {coco: [a.json, /b.json], images: pictures, max_masks: 5, min_area: 7}\n"
        "models: [nano, mine]\nbaselines: [felzenszwalb, grabcut]\nclicks: [3, 1]\n"
        "first_point: random\nboxes: true\nseed: 4\noutput: s3://bucket/out\n"
    )
    (of_set,) = suite.sets.values()
    assert (of_set.coco, of_set.images) == (("somewhere/a.json", "/b.json"), "somewhere/pictures")
    assert (of_set.max_masks, of_set.min_area) == (5, 7)
    assert (suite.models, suite.baselines) == (("nano", "mine"), ("felzenszwalb", "grabcut"))
    assert (suite.clicks, suite.first_point, suite.seed) == ((1, 3), "random", 4)
    assert suite.output == "s3://bucket/out"


def test_results_go_beside_the_file_under_its_name_where_it_says_nothing_else() -> None:
    assert parsed("sets: {a: {coco: a.json}}\nmodels: nano").output == "somewhere/suite-results"
    with pytest.raises(InputError, match="output: string should have at least 1 character"):
        parsed("sets: {a: {coco: a.json}}\nmodels: nano\noutput: ''")


def test_the_documented_file_is_a_suite_and_names_every_key() -> None:
    (block,) = (block for block in blocks(ROOT / "docs" / "evaluation.md") if block.language == "yaml")
    assert set(parsed(block.text).sets) == {"streets", "leaves"}
    assert [key for key in (*Suite.model_fields, *SuiteSet.model_fields) if f"{key}:" not in block.text] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", ["expected keys and values", "models"]),
        ("sets: [1", ["not valid YAML"]),
        ("models: nano\noutput: out", ["sets: field required"]),
        (LEAST + "clicks: []", ["clicks", "at least 1"]),
        (LEAST + "clicks: [1, 0]", ["clicks.1", "greater than or equal to 1", "found 0"]),
        (LEAST + "clicks: [1, 1]", ["clicks: 1 stands there twice"]),
        (LEAST + "model: nano", ["unknown key 'model'", "models"]),
        (LEAST + "first_point: center", ["first_point", "'centre' or 'random'", "'center'"]),
        (LEAST + "baselines: canny", ["baselines.0", "'felzenszwalb' or 'grabcut'", "'canny'"]),
        (LEAST + "baselines: grabcut\nboxes: false", ["grabcut starts from boxes", "boxes: true"]),
        (LEAST + "baselines: felzenszwalb\nclicks: 3", ["felzenszwalb answers 1 click", "put 1 among clicks"]),
        (LEAST.replace("coco: a.json", "coco: a.json, masks: 3"), ["unknown key 'sets.a.masks'", "max_masks"]),
        (LEAST.replace("coco: a.json", "min_area: 3"), ["sets.a.coco: field required"]),
        (LEAST.replace("coco: a.json", "cocoo: a.json"), ["unknown key 'sets.a.cocoo'", "there are: coco,"]),
        (LEAST.replace("{a: {coco: a.json}}", "{}"), ["sets", "at least 1"]),
    ],
)
def test_what_may_not_stand_there_is_named_in_one_line(text: str, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parsed(text)
    message = str(caught.value)
    assert message.startswith(f"{FILE}: ")
    assert "\n" not in message
    assert [part for part in said if part not in message] == [], message


@pytest.mark.parametrize("text", ["sets: {a: {coco: a}, b: {coco: b}, a: {coco: c}}", "seed: 1\na: 2\na: 3"])
def test_a_set_that_stands_there_twice_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a stands there twice"):
        parsed(text)
