"""A start model whose predicted IoU is far off here is calibrated before the first round; the model itself stays."""

from pathlib import Path

from model.registry import find_model, list_models, model_roots
from model.storage import load_model
from stages.calibrating import calibrated_start
from stages.measuring import measuring_set
from stages.progress import silent
from stages.rounds import tick
from tests.stages.workspaces import make_workspace


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
    scores = [
        measured.score(store, load_model(model.model_id, model_roots(store.workspace))[0], lambda _done, _total: None)
        for model in (start, copy)
    ]
    before, after = scores
    assert before is not None
    assert after is not None
    assert (before.one_click.confident == after.one_click.confident).all(), "the same masks are the most confident"
    errors = [each.one_click.predicted_iou_error for each in scores if each is not None]
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
