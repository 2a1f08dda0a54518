"""A start model whose predicted IoU is far off here is calibrated before the first round; the model itself stays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.evaluation.model_scores import ModelScores
from engine.evaluation.scores import PromptScores
from engine.keys import content_key
from engine.store import Store
from model.calibration import Line
from model.registry import ModelInfo, find_model, list_models, model_roots
from model.sam import Sam
from model.storage import load_model
from stages import calibrating
from stages.calibrating import TOLERATED_ERROR, calibrate, calibrated_start
from stages.measuring import MeasuringSet, measuring_set
from stages.progress import silent
from stages.rounds import tick
from tests.stages.workspaces import make_workspace, tiny_sam


def test_the_first_round_starts_from_a_calibrated_copy(tmp_path: Path) -> None:
    """The tiny model calls every mask 0.9 good, and has learned nothing."""
    store = make_workspace(tmp_path, images=10, holdout=8)
    start = find_model("tiny", model_roots(store.workspace))
    tick(store, "assisted_manual")
    (record,) = store.rounds()
    copy = find_model(record.model_before, model_roots(store.workspace))
    assert copy.model_id != start.model_id
    assert copy.card.parent == start.model_id
    measured = measuring_set(store, frozenset(), seed=0)
    assert measured is not None
    measurements = [
        measured.score(store, load_model(model.model_id, model_roots(store.workspace))[0], lambda _done, _total: None)
        for model in (start, copy)
    ]
    before, after = measurements
    assert before is not None
    assert after is not None
    assert (before.one_click.confident == after.one_click.confident).all(), "the same masks are the most confident"
    errors = [each.one_click.predicted_iou_error for each in measurements if each is not None]
    assert errors[0] == copy.card.metrics["iou_error_before"]
    assert abs(errors[1] - copy.card.metrics["iou_error_after"]) < 1e-4
    assert errors[1] < 0.2 < errors[0]


def test_the_same_again_is_found(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=10, holdout=8)
    start, config = find_model("tiny", model_roots(store.workspace)), store.files.settings()
    first = calibrated_start(store, config, start, silent)
    assert calibrated_start(store, config, start, silent) == first
    assert len(list_models([store.workspace / "models"])) == 2


def test_few_masks_or_none_leave_the_start_model_alone(tmp_path: Path) -> None:
    for holdout in (0, 2):
        store = make_workspace(tmp_path / str(holdout), images=6, holdout=holdout)
        start = find_model("tiny", model_roots(store.workspace))
        assert calibrated_start(store, store.files.settings(), start, silent) == start


def prompted(count: int, *, predicted: float | None, reached: float) -> PromptScores:
    given = None if predicted is None else np.full(count, predicted)
    return PromptScores(np.full(count, reached), np.full(count, 0.9), given)


def scores(*, error: float, count: int = 30, reached: float = 0.5) -> ModelScores:
    """A model that is off by this much at 1 click, by .2 at 3 clicks, and by .1 from a box."""
    return ModelScores(
        prompted(count, predicted=reached + error, reached=reached),
        prompted(count, predicted=0.6, reached=0.8),
        prompted(count, predicted=0.7, reached=0.6),
    )


def test_one_line_is_of_the_masks_that_answer_one_prompt_and_one_of_those_that_answer_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[tuple[float, float]] = []
    lines = iter([Line(0.5, 0.25), Line(2.0, -0.5)])

    def fit(predicted: np.ndarray, reached: np.ndarray) -> Line:
        fitted.append((float(predicted[0]), float(reached[0])))
        return next(lines)

    applied: dict[str, object] = {}
    monkeypatch.setattr(calibrating, "fit_line", fit)
    monkeypatch.setattr(calibrating, "apply_lines", lambda sam, **given: applied.update(given, sam=sam))
    sam = tiny_sam()
    before = scores(error=0.25)
    after, found = calibrate(sam, before)
    assert fitted == [(0.75, 0.5), (0.6, 0.8)]
    assert found == {"multiple": Line(0.5, 0.25), "single": Line(2.0, -0.5)}
    assert applied == {"sam": sam} | found
    for each, old, predicted in (
        (after.one_click, before.one_click, 0.5 * 0.75 + 0.25),
        (after.three_clicks, before.three_clicks, 2 * 0.6 - 0.5),
        (after.box, before.box, 0.5 * 0.7 + 0.25),
    ):
        assert each.predicted == pytest.approx(np.full(30, predicted))
        assert (each.confident is old.confident, each.oracle is old.oracle) == (True, True)


def test_a_model_that_predicts_no_iou_stays_as_it_is() -> None:
    sam = tiny_sam()
    weights = {name: value.clone() for name, value in sam.state_dict().items()}
    silent_one = ModelScores(*(prompted(30, predicted=None, reached=0.5) for _ in range(3)))
    assert calibrate(sam, silent_one) == (silent_one, {"single": Line(), "multiple": Line()})
    assert all(torch.equal(value, weights[name]) for name, value in sam.state_dict().items())


class Start:
    """A start model in a workspace with held-out pictures, and what was measured of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, found: ModelScores | None) -> None:
        self.store = make_workspace(folder, images=4, holdout=3)
        self.info = find_model("tiny", model_roots(self.store.workspace))
        self.told: list[tuple[str, int, int]] = []
        self.device = ""

        def score(_: MeasuringSet, store: Store, sam: Sam, on_image: Callable[[int, int], None]) -> ModelScores | None:
            assert store is self.store
            self.device = sam.device.type
            on_image(2, 3)
            return found

        monkeypatch.setattr(MeasuringSet, "score", score)

    def calibrated(self) -> ModelInfo:
        def progress(what: str, done: int, total: int, note: str = "") -> None:
            self.told.append((what, done, total))

        return calibrated_start(self.store, self.store.files.settings(), self.info, progress)


@pytest.mark.parametrize(
    ("found", "copied"),
    [
        (None, False),
        (scores(error=0.125), False),
        (scores(error=-0.125), False),
        (scores(error=TOLERATED_ERROR, reached=0.0, count=32), False),
        (scores(error=0.1875), True),
        (scores(error=0.25, count=19), False),  # too few for a line
        (ModelScores(*(prompted(30, predicted=None, reached=0.5) for _ in range(3))), False),
    ],
)
def test_a_start_model_that_is_off_by_more_than_is_tolerated_gets_a_calibrated_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: ModelScores | None, copied: bool
) -> None:
    start = Start(tmp_path, monkeypatch, found)
    made = start.calibrated()
    assert (made != start.info) == copied
    assert len(list_models([start.store.workspace / "models"])) == 1 + copied
    assert start.told == [("measuring the start model", 2, 3)]


def test_the_card_of_the_copy_says_what_it_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start(tmp_path, monkeypatch, scores(error=0.25))
    made = start.calibrated()
    measured = measuring_set(start.store, frozenset(), seed=0)
    assert measured is not None
    name = f"tiny-calibrated-{content_key('calibrated', start.info.model_id, measured.key)[:6]}"
    assert (made.name, made.card.parent) == (name, start.info.model_id)
    assert dict(made.card.trained_on) == {"calibrated_on": measured.key, "images": 3, "masks": 9}
    metrics = dict(made.card.metrics)
    lines = metrics.pop("calibration")
    assert lines.keys() == {"single", "multiple"}
    assert lines["multiple"]["slope"] * 0.75 + lines["multiple"]["intercept"] == pytest.approx(0.5)
    assert lines["single"]["slope"] * 0.6 + lines["single"]["intercept"] == pytest.approx(0.8)
    assert metrics == {"iou_error_before": 0.25, "iou_error_after": pytest.approx(0.0, abs=1e-6)}
    assert made.card.notes.startswith("the predicted IoUs of its parent, calibrated on held-out pictures")


def test_the_start_model_is_measured_on_the_device_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Start(tmp_path, monkeypatch, None)
    monkeypatch.setattr(calibrating, "device_of", {"cpu": "meta"}.__getitem__)  # any machine has this one
    start.calibrated()
    assert start.device == "meta"
