"""The stage in which the generator works alone: the threshold that it opens with, and the rows that it makes."""

from pathlib import Path
from typing import Any

import pytest

from engine.masks.generator import GenerationResult
from engine.store import Store
from model.registry import find_model, model_roots
from schemas.round_metrics import NOTHING_PASSES, PrefillThreshold, RoundMetrics
from schemas.stages import Stage
from schemas.tables import Round
from stages import fully_automatic
from stages.fully_automatic import FullyAutomaticWorker
from stages.progress import silent
from stages.records import ShardRows, Where
from stages.workers import Opening, Picture
from tests.stages.test_prefill import square
from tests.stages.workspaces import ALL_MASKS, make_workspace

STAGE: Stage = "fully_automatic"


def chosen(threshold: float) -> PrefillThreshold:
    return PrefillThreshold(
        threshold=threshold, stated_precision=0.8, precision=0.9, recall=0.5, masks=2, right=1, objects=2, images=1,
        iou=0.5, measured_on="holdout",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(
        tmp_path, images=2, holdout=0, fully_automatic={"generator": ALL_MASKS | {"pred_iou_thresh": 0.25}}
    )


def worker(store: Store, metrics: RoundMetrics) -> FullyAutomaticWorker:
    model = find_model("tiny", model_roots(store.workspace)).model_id
    ids = tuple(store.images()["image_id"].to_pylist())
    store.put_round(Round(STAGE, 1, ids, model_before=model, metrics=metrics))
    return FullyAutomaticWorker(store.workspace, 1)


def test_a_round_opens_with_the_threshold_that_was_chosen_or_with_none(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    found: list[PrefillThreshold | None] = [None, chosen(0.5), chosen(NOTHING_PASSES)]

    def threshold(*given: Any) -> PrefillThreshold | None:
        asked.append(given)
        return found[len(asked) - 1]

    monkeypatch.setattr(fully_automatic, "threshold_of_round", threshold)
    config, model = store.files.settings(), find_model("tiny", model_roots(store.workspace))
    opened = [FullyAutomaticWorker.opening(store, config, model, silent) for _ in range(3)]
    assert opened[0] == Opening(RoundMetrics(), "")
    assert opened[1] == Opening(RoundMetrics(generator_threshold=found[1]), found[1].summary("") if found[1] else "")
    assert opened[1].message.startswith("threshold 0.500")
    assert "no mask passes; lower fully_automatic.precision" in opened[2].message
    assert asked == [(store, config, model, silent)] * 3


@pytest.mark.parametrize(
    ("metrics", "threshold"),
    [
        (RoundMetrics(), 0.25),
        (RoundMetrics(generator_threshold=chosen(0.625)), 0.625),
        (RoundMetrics(generator_threshold=chosen(NOTHING_PASSES)), 1.0),
    ],
)
def test_the_generator_works_with_the_threshold_of_the_round(
    store: Store, metrics: RoundMetrics, threshold: float
) -> None:
    made = worker(store, metrics)
    expected = (
        store.files.settings().fully_automatic.generator_config().model_copy(update={"pred_iou_thresh": threshold})
    )
    assert made.generator_config == made.generator.config == expected
    assert made.settings("000000") == (expected.config_hash(),)


def test_masks_of_every_picture_are_rows_of_the_round(store: Store) -> None:
    made, seen = worker(store, RoundMetrics()), []

    class Generator:
        def generate(self, picture: Picture, where: Where, rows: ShardRows) -> GenerationResult:
            seen.append((picture.image_id, where))
            rows.generation.append({"image_id": picture.image_id})
            return GenerationResult([square(0, 0, 5, 5), square(9, 9, 12, 12)], {}, {}, coverage_frac=0.0, parents=None)

    made.generator = Generator()  # type: ignore[assignment]
    shard = store.shards()[0]
    ids = made.images_by_shard[shard]
    rows = made.make_rows(shard, ids)
    assert seen == [(image_id, Where(image_id, shard, STAGE, 1, made.record.model_before)) for image_id in ids]
    found = [(row["image_id"], row["stage"], row["round"], row["shard"], row["area"]) for row in rows.masks.values()]
    assert found == [(image_id, STAGE, 1, shard, area) for image_id in ids for area in (25, 9)]
    assert rows.generation == [{"image_id": image_id} for image_id in ids]
    assert rows.events == []
