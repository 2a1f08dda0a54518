"""A suite over sets and peers: what is measured, what is kept, and what is left out."""

import json
from pathlib import Path

import numpy as np
import pytest

import engine.evaluation.suite as suite_module
from engine.evaluation.evaluations import Samples
from engine.evaluation.peers import Measure, Peer, Scores
from engine.evaluation.scores import PromptScores
from engine.evaluation.suite import RESULTS, SuiteResult, run_suite
from engine.places import place
from schemas.errors import InputError
from schemas.suite import Suite, SuiteSet
from tests.stages.workspaces import write_pictures


class Counting:
    """A peer that says how large each mask is, and remembers how often it was opened and asked."""

    def __init__(self, name: str, *, refuses: int | None = None) -> None:
        self.opened = self.asked = 0
        self.peer = Peer(name, f"key of {name}", self._open)
        self._refuses = refuses

    def _open(self) -> Measure:
        self.opened += 1
        return self._measure

    def _measure(self, samples: Samples) -> Scores:
        self.asked += 1
        if self.asked == self._refuses:
            raise InputError("0.png: the picture cannot be read")
        counts = [len(sample.masks) for sample in samples.told(self.peer.name)]
        values = np.arange(sum(counts)) / 100
        return {"1": PromptScores(values, values + 0.5, values), "box": PromptScores(values, values)}


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    write_pictures(tmp_path / "a", images=3)
    write_pictures(tmp_path / "b", images=2, first_seed=7)
    sets = {name: SuiteSet(coco=(str(tmp_path / name / "masks.json"),)) for name in ("a", "b")}
    return Suite(sets=sets, models=("x",), output=str(tmp_path / "out"))


def run(suite: Suite, *peers: Counting, said: list[str] | None = None) -> SuiteResult:
    lines: list[str] = []
    result = run_suite(suite, [peer.peer for peer in peers], place(suite.output), tell=lines.append)
    assert said is None or lines == said
    return result


def changed(suite: Suite, **sets: SuiteSet) -> Suite:
    return suite.model_copy(update={"sets": {**suite.sets, **sets}})


def test_every_peer_is_opened_once_and_asked_for_every_set(suite: Suite) -> None:
    x, y = Counting("x"), Counting("y")
    result = run(suite, x, y, said=[])
    assert (result.peers, list(result.sets), result.left_out) == (("x", "y"), ["a", "b"], {})
    assert [(each.masks, each.pictures, each.note) for each in result.sets.values()] == [
        (9, 3, "all masks"),
        (6, 2, "all masks"),
    ]
    assert [(peer.opened, peer.asked) for peer in (x, y)] == [(1, 2), (1, 2)]


def test_what_was_measured_is_not_measured_again(suite: Suite) -> None:
    first = run(suite, Counting("x"))
    again = Counting("x")
    kept = run(suite, again)
    assert (again.opened, again.asked) == (0, 0)
    for name in first.sets:
        for prompt, scores in first.sets[name].scores["x"].items():
            found = kept.sets[name].scores["x"][prompt]
            np.testing.assert_array_equal(found.confident, scores.confident)
            np.testing.assert_array_equal(found.oracle, scores.oracle)
            assert (found.predicted is None) == (scores.predicted is None)
    added = Counting("y")
    run(suite, again, added)
    assert (again.asked, added.asked) == (0, 2)


def test_a_set_that_changes_is_measured_anew(suite: Suite) -> None:
    run(suite, Counting("x"))
    fewer = Counting("x")
    result = run(changed(suite, a=suite.sets["a"].model_copy(update={"max_masks": 4})), fewer)
    assert fewer.asked == 1
    assert (result.sets["a"].masks, result.sets["a"].note) == (4, "at most 4 masks, drawn at random")
    file = Path(suite.sets["b"].coco[0])
    file.write_text(file.read_text() + "\n")
    content = Counting("x")
    run(suite, content)
    assert content.asked == 1


def test_a_kept_file_that_cannot_be_read_is_written_anew(suite: Suite) -> None:
    run(suite, Counting("x"))
    for number, file in enumerate(sorted((Path(suite.output) / RESULTS).iterdir())):
        file.write_text(("{", '{"scores": [1]}')[number])
    again = Counting("x")
    run(suite, again)
    assert again.asked == 2
    assert all(json.loads(file.read_text())["peer"] == "x" for file in (Path(suite.output) / RESULTS).iterdir())


def test_sets_that_cannot_be_measured_are_named_and_the_rest_is_done(suite: Suite, tmp_path: Path) -> None:
    wanted = changed(
        suite,
        gone=SuiteSet(coco=(str(tmp_path / "gone.json"),)),
        small=suite.sets["a"].model_copy(update={"min_area": 100_000}),
    )
    lines: list[str] = []
    refusing = Counting("y", refuses=1)
    result = run_suite(wanted, [Counting("x").peer, refusing.peer], place(suite.output), tell=lines.append)
    assert list(result.sets) == ["b"]
    assert list(result.sets["b"].scores) == ["x", "y"]
    assert list(result.left_out) == ["gone", "small", "a"]
    assert str(tmp_path / "gone.json") in result.left_out["gone"]
    assert result.left_out["small"] == "no mask has 100000 px or more; lower sets.small.min_area"
    assert lines == [f"{name}: left out: {reason}" for name, reason in result.left_out.items()]
    assert all("\n" not in line for line in lines)


def test_of_very_many_masks_some_pictures_are_measured(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_module, "MOST_MASKS", 8)
    monkeypatch.setattr(suite_module, "SAMPLE_MASKS", 4)
    result = run(suite, Counting("x"))
    assert [(each.masks, each.pictures, each.note) for each in result.sets.values()] == [
        (6, 2, "all masks of some pictures, of 9 on 3"),
        (6, 2, "all masks"),
    ]
    asked = run(changed(suite, a=suite.sets["a"].model_copy(update={"max_masks": 9, "min_area": 2})), Counting("x"))
    assert (asked.sets["a"].masks, asked.sets["a"].note) == (9, "at most 9 masks, drawn at random, of 2 px or more")


def test_progress_tells_the_set(suite: Suite) -> None:
    told: list[str] = []
    run_suite(
        suite,
        [Counting("x").peer],
        place(suite.output),
        progress=lambda what, done, total: told.append(f"{what} {done}/{total}"),
    )
    assert told == ["a: x 0/3", "a: x 1/3", "a: x 2/3", "a: x 3/3", "b: x 0/2", "b: x 1/2", "b: x 2/2"]
