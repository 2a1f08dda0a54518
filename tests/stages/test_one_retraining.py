"""What a retraining hands to the training, measures, and writes on the card of the model; the training itself is a
stand-in that moves one weight."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.evaluation.model_scores import compare
from engine.keys import content_key
from model.registry import ModelCard, list_models, model_roots
from model.storage import load_model, save_model
from schemas.errors import WaitError
from schemas.tables import table_of
from stages import model_choice, retraining
from stages.measuring import MeasuringSet, measuring_set
from stages.model_choice import SHARES
from stages.retraining import RETRAINING_VERSION
from tests.stages.stand_in_training import (
    STAGE,
    Training,
    annotated,
    made_here,
    retrained,
    scores,
    token,
)

LINEAGE = (
    *("version", "start", "averaging", "replay", "replay_frac", "importance", "caution"),
    *("known_pictures", "described", "measured"),
)


def test_the_card_says_what_the_model_follows_from(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path)
    found = retrained(store, record)
    card = made_here(store).card
    measured = measuring_set(store, frozenset(), seed=0)
    assert measured is not None
    assert (card.parent, card.stage, card.round) == (record.model_before, STAGE, 1)
    assert card.seed == training.config.seed
    assert card.training == training.config.model_dump(mode="json")
    lineage = dict(card.trained_on)
    assert (lineage["images"], lineage["masks"]) == (4, 12)
    assert lineage["versions"] == {name: store.versions()[name] for name in lineage["versions"]}
    more = {name: lineage[name] for name in LINEAGE}
    assert more == {
        "version": RETRAINING_VERSION,
        "start": record.model_before,
        "averaging": True,
        "replay": "",
        "replay_frac": 0.0,
        "importance": "",
        "caution": 0.0,
        "known_pictures": "",
        "described": "",
        "measured": measured.key,
    }
    assert lineage["recipe"] == content_key(training.config.model_dump_json())
    assert card.name == f"{STAGE}-1-{training.options['data'][:6]}"
    assert found.model_id == card.model_id
    assert found.metrics.trained_images == 4
    assert (found.metrics.trained_masks, found.metrics.measured_images, found.metrics.measured_masks) == (12, 1, 3)
    assert found.metrics.measured_on == "holdout"
    assert dict(card.metrics)["calibration"].keys() == {"single", "multiple"}
    assert dict(card.metrics)["left_out"].keys() == {"too_small", "too_large"}
    assert set(found.metrics.scores) >= {"miou", "miou_3", "miou_box", "miou_oracle"}
    assert not any(name.startswith("old_") for name in found.metrics.scores)


def test_what_the_training_is_told(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path)
    told: list[Any] = []
    retrained(store, record, told)
    assert len(training.source) == 4
    assert training.options["weights"] == training.source.weights
    assert training.source.longest_px == training.config.longest_px(64)
    data = training.options["data"]
    assert training.options["checkpoints"] == store.workspace / "models" / ".training" / data
    assert not training.options["checkpoints"].exists(), "a model that is registered needs none"
    assert training.options["too_small"] == (
        f"lower retraining.min_mask_frac in {store.files.config}, or check the masks"
    )
    title = f"{STAGE} round 1"
    assert told[0] == (f"{title}, measuring before", 1, 1, "")
    speed = f"{training.config.phase(1).batch_size / 2:.1f} img/s"
    note = f"loss 0.123  IoU 0.75  lr 1.0e-04  {speed}  waiting for data 25%"
    assert (f"{title}, retraining", 2, 2, note) in told
    assert told[-1] == (f"{title}, measuring after", 1, 1, "")


def test_checkpoints_that_are_elsewhere_are_fetched_first_and_put_back(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fetch", "put", "remove"):
        monkeypatch.setattr(retraining.CheckpointsAt, name, lambda _, name=name: done.append(name))
    train = retraining.train

    def watched(*given: Any, **options: Any) -> None:
        done.append("train")
        train(*given, **options)
        options["on_checkpoint"]()

    monkeypatch.setattr(retraining, "train", watched)
    store, record = annotated(tmp_path, images=4, holdout=0)
    retrained(store, record)
    assert done == ["fetch", "train", "put", "remove"]


def test_the_model_that_is_kept_goes_a_share_of_the_way(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path, images=4, holdout=0)
    start = token(store, record.model_before)
    found = retrained(store, record)
    assert found.metrics.share == SHARES[0], "nothing measures a shorter way"
    assert token(store, found.model_id) == pytest.approx(start + SHARES[0] * (1 - start))
    assert (found.metrics.measured_on, found.metrics.measured_images, found.metrics.measured_masks) == ("", 0, 0)
    assert found.metrics.scores == {}
    line = {"slope": 1.0, "intercept": 0.0}
    kept = made_here(store).card.metrics["calibration"]
    assert all({name: each[name] for name in line} == line for each in kept.values())
    assert made_here(store).card.trained_on["measured"] == ""
    assert found.used == found.model_id


def test_without_averaging_it_goes_all_the_way(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path, averaging=False)
    found = retrained(store, record)
    assert found.metrics.share == 1.0
    assert token(store, found.model_id) == pytest.approx(1.0)
    assert found.metrics.score("miou").after is not None
    assert made_here(store).card.trained_on["averaging"] is False


def test_it_is_found_again_where_nothing_changed(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path)
    first = retrained(store, record)
    left = store.workspace / "models" / ".training" / training.options["data"]
    left.mkdir(parents=True)
    training.options = {}
    again = retrained(store, record)
    assert training.options == {}, "it was not trained again"
    assert again == first
    assert not left.exists(), "what a killed run left goes"
    start = load_model(record.model_before, model_roots(store.workspace))[0]
    with torch.no_grad():
        next(start.parameters()).add_(0.5)
    other = save_model(start, store.workspace / "models", ModelCard(name="other"))
    store.put_round(replace(record, model_before=other))
    assert retrained(store, replace(record, model_before=other)).model_id != first.model_id, "of another parent"


def test_a_model_that_is_worse_is_kept_and_not_used(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = annotated(tmp_path)
    before, after = scores([0.5] * 40), scores([0.25] * 40)
    given = iter([before, after, after, after])
    monkeypatch.setattr(MeasuringSet, "score", lambda *_: next(given))
    found = retrained(store, record)
    assert found.used == record.model_before != found.model_id
    assert found.metrics.guard is not None
    assert not found.metrics.guard.accepted
    for name, value in compare(before, after).items():
        if name.startswith("miou"):
            assert made_here(store).card.metrics[name] == pytest.approx(value)


def test_the_start_of_a_later_round_is_the_model_of_the_first(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = annotated(tmp_path)
    first = retrained(store, record)
    store.put_round(replace(record, state="retrained", model_after=first.model_id))
    second = replace(record, round=2, model_before=first.model_id)
    store.put_round(second)
    starts: list[float] = []

    def ways(start: Any, *_: Any) -> Any:
        starts.append(float(start["mask_decoder.iou_token.weight"].mean()))
        return model_choice.ways(start, *_)

    monkeypatch.setattr(retraining, "ways", ways)
    retrained(store, second)
    assert starts == pytest.approx([token(store, record.model_before)])
    cards = {model.card.round: model.card for model in list_models([store.workspace / "models"]) if model.card.round}
    assert cards[2].trained_on["start"] == record.model_before
    assert (cards[2].parent, cards[2].trained_on["masks"]) == (first.model_id, 12)


def test_a_recipe_may_give_the_decoder_more_layers(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = annotated(tmp_path)
    deeper = retraining.training_config

    def three_layers(*arguments: Any, **options: Any) -> Any:
        return deeper(*arguments, **options).model_copy(update={"decoder_depth": 3})

    monkeypatch.setattr(retraining, "training_config", three_layers)
    found = retrained(store, record)
    sam, _ = load_model(found.model_id, model_roots(store.workspace))
    assert sam.config.decoder_depth == 3
    assert found.metrics.score("miou").after is not None


def test_without_masks_it_says_what_to_do(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path)
    for shard in store.shards():
        store.replace_shard(STAGE, shard, table_of(STAGE, []), round=1, key=content_key("none", shard))
    with pytest.raises(WaitError, match=r"^assisted_manual round 1: there are no masks to train on; ingest images"):
        retrained(store, record)
    assert training.source is None


def test_the_way_masks_are_chosen_is_that_of_the_settings(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path, selection="new_only", oversampling={STAGE: 3})
    second = replace(record, round=2)
    store.put_round(second)
    with pytest.raises(WaitError):
        retrained(store, second)
    retrained(store, record)
    assert set(training.options["weights"]) == {3.0}
    lineage = made_here(store).card.trained_on
    assert (lineage["selection"], lineage["stage"], lineage["round"]) == ("new_only", STAGE, 1)
