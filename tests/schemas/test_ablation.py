"""An ablation's file: what may stand in it, and what is said of what may not."""

from pathlib import Path

import pytest

from schemas.ablation import EXPERIMENTS, MIXES, Ablation, parse_ablation
from schemas.errors import InputError
from schemas.suite import SuiteSet
from tests.documents import ROOT, blocks

FILE = Path("somewhere/ablation.yaml")
LEAST = "sets: {a: {coco: a.json}}\noutput: out\n"


def parsed(text: str) -> Ablation:
    return parse_ablation(text.encode(), file=FILE)


def test_what_is_left_out_is_the_default_and_paths_begin_at_the_file() -> None:
    found = parsed(LEAST)
    assert found.sets == {"a": SuiteSet(coco=("somewhere/a.json",))}
    assert found.output == "somewhere/out"
    assert found.experiments == EXPERIMENTS == ("stages", "data", "encoder", "points")
    assert found.mixes == MIXES == ("manual", "semi", "automatic", "oversampled", "automatic_only")
    assert (found.start, found.encoders, found.mix, found.oversampling) == ("nano", None, "oversampled", 10)
    assert (found.data, found.points_per_side, found.generator_images) == ((0.01, 0.1, 1.0), (8, 16, 32), 1000)
    assert (found.preset, found.steps, found.settings, found.replay_frac) == ("retrain", None, {}, None)
    assert (found.seeds, found.clicks, found.first_point, found.seed) == ((0,), (1, 2, 3, 5), "centre", 0)


def test_numbers_come_sorted_and_one_needs_no_list() -> None:
    found = parsed(LEAST + "data: [1, 0.5]\npoints_per_side: [16, 4]\nseeds: 3\nexperiments: data\nencoders: tiny\n")
    assert (found.data, found.points_per_side, found.seeds) == ((0.5, 1), (4, 16), (3,))
    assert (found.experiments, found.encoders) == (("data",), ("tiny",))
    assert parsed(LEAST + "data: 0.5").data == (0.5,)


def test_results_go_beside_the_file_under_its_name_where_it_says_nothing_else() -> None:
    assert parsed("sets: {a: {coco: a.json}}").output == "somewhere/ablation-results"
    with pytest.raises(InputError, match="output: string should have at least 1 character"):
        parsed("sets: {a: {coco: a.json}}\noutput: ''")


def test_the_documented_file_has_the_defaults_and_names_every_key() -> None:
    (block,) = (block for block in blocks(ROOT / "docs" / "ablation.md") if block.language == "yaml")
    found = parsed(block.text)
    plain = Ablation(sets=found.sets, output=found.output)
    assert found.model_copy(update={"encoders": None}) == plain
    assert [key for key in Ablation.model_fields if f"{key}:" not in block.text] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sets: {}\noutput: out", ["sets", "at least 1"]),
        ("output: out", ["sets: field required"]),
        (LEAST + "experiments: [stages, size]", ["experiments.1", "'points'", "'size'"]),
        (LEAST + "experiments: []", ["experiments", "at least 1"]),
        (LEAST + "mixes: [manual, semi, auto]", ["mixes.2", "'oversampled'", "'auto'"]),
        (LEAST + "mixes: [semi, semi]", ["mixes: semi stands there twice"]),
        (LEAST + "data: [0.1, 0]", ["data.1", "greater than 0"]),
        (LEAST + "data: [0.1, 2]", ["data.1", "less than or equal to 1"]),
        (LEAST + "data: [0.1, 0.1]", ["data: 0.1 stands there twice"]),
        (LEAST + "seeds: [1, 1]", ["seeds: 1 stands there twice"]),
        (LEAST + "seeds: [-1]", ["seeds.0", "greater than or equal to 0"]),
        (LEAST + "mix: everything", ["mix", "'oversampled'", "'everything'"]),
        (LEAST + "replay_frac: 1", ["replay_frac", "less than 1"]),
        (LEAST + "oversampling: 0", ["oversampling", "greater than 0"]),
        (LEAST + "stages: 1", ["unknown key 'stages'", "experiments"]),
        (LEAST.replace("coco: a.json", "coco: a.json, mask: 3"), ["unknown key 'sets.a.mask'", "max_masks"]),
    ],
)
def test_what_may_not_stand_there_is_named_in_one_line(text: str, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parsed(text)
    message = str(caught.value)
    assert message.startswith(f"{FILE}: ")
    assert "\n" not in message
    assert [part for part in said if part not in message] == [], message
