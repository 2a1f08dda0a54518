"""The end of every round: a model trained on the masks so far, measured, and registered with where it comes from."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.evaluation.points import evaluate_points
from engine.rows import content_key
from engine.snapshots import SnapshotDataset, training_samples
from engine.store import Store
from model.predictor import Predictor
from model.registry import (
    ModelCard,
    ModelInfo,
    check_name,
    find_model,
    list_models,
    load_model,
    model_roots,
    save_model,
)
from model.sam import EncoderConfig, Sam
from model.training.config import TrainingConfig
from model.training.initialise import with_decoder_depth
from model.training.presets import training_preset
from model.training.samples import CocoRle, Sample
from model.training.trainer import train
from schemas.config import CONFIG_FILE, EngineConfig
from schemas.errors import WaitError
from schemas.tables import GROUND_TRUTH, Round
from stages.progress import Progress
from stages.records import masks_by_image
from stages.workers import device_of, images_by_shard

_CHECKPOINTS = ".training"


@dataclass(frozen=True)
class Retrained:
    """A registered model, and what was measured of it and of its parent (names as in the report of rounds)."""

    model_id: str
    metrics: dict[str, Any]


def retrain(store: Store, config: EngineConfig, record: Round, progress: Progress) -> Retrained:
    """Train the round's model on the masks so far, measure it on the held-out images and register it.

    All follows from the round, the tables and the settings as they are: a retraining that was killed goes on from its
    last checkpoint, and one that is done already is found, not redone.
    Raises WaitError where there are no masks to train on.
    """
    samples = _samples(store, config, record)
    start = find_model(record.model_before, model_roots(store.workspace))
    training = training_config(config, record, start.config.encoder, images=len(samples))
    lineage = {**samples.lineage(), "recipe": content_key(training.model_dump_json())}
    key = content_key(record.model_before, json.dumps(lineage, sort_keys=True))
    models = store.workspace / "models"
    checkpoints = models / _CHECKPOINTS / key
    for known in list_models([models]):
        if known.card.trained_on == lineage and known.card.parent == record.model_before:
            shutil.rmtree(checkpoints, ignore_errors=True)
            return Retrained(known.model_id, dict(known.card.metrics))
    name = f"{record.stage}-{record.round}-{key[:6]}"
    check_name(models, name)
    sam, parent = load_model(record.model_before, model_roots(store.workspace), device=device_of(config.model.device))
    before = _measured_as_child(store, parent) or measure(store, sam, progress, f"{_title(record)}, measuring before")
    sam = with_decoder_depth(sam, training.decoder_depth)
    samples.longest_px = training.longest_px(sam.image_size)
    train(
        sam,
        samples,
        training,
        weights=samples.weights,
        checkpoints=checkpoints,
        data=key,
        on_step=lambda report: progress(
            f"{_title(record)}, retraining", report.step + 1, training.steps, f"loss {report.loss:.2f}"
        ),
    )
    after = measure(store, sam, progress, f"{_title(record)}, measuring after")
    metrics = _before_and_after(before, after) | {
        "trained_images": lineage["images"],
        "trained_masks": lineage["masks"],
    }
    card = ModelCard(
        name=name,
        parent=record.model_before,
        stage=record.stage,
        round=record.round,
        trained_on=lineage,
        training=training.model_dump(mode="json"),
        seed=training.seed,
        metrics=metrics,
    )
    model_id = save_model(sam, models, card)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return Retrained(model_id, metrics)


def training_config(config: EngineConfig, record: Round, encoder: EncoderConfig, *, images: int) -> TrainingConfig:
    """The recipe of a round's retraining by the workspace's settings; its seed follows from seed, stage and round.

    encoder: of the model that is retrained. images: how many it learns from.
    """
    asked = {"steps": config.retraining.steps, "masks_per_image": config.retraining.masks_per_image}
    seed = int(content_key("training", config.seed, record.stage, record.round), 16) % 2**31
    overrides = {name: value for name, value in asked.items() if value is not None}
    recipe = training_preset(config.retraining.preset, encoder=encoder, images=images, seed=seed, **overrides)
    # Loader processes are forked, and a fork of a process full of threads (Prefect's, the store's) can lock up.
    return recipe.model_copy(update={"loader_workers": 0})


def measure(store: Store, sam: Sam, progress: Progress, what: str) -> dict[str, Any]:
    """mIoU of a model at 1 click on the held-out images: of its most confident mask, and of the best of three.

    Returns only the counts where no image is held out.
    """
    held_out, key = _held_out(store)
    scores = evaluate_points(Predictor(sam), _held_out_samples(store, held_out, progress, what))
    counts = {"holdout": key, "holdout_images": len(held_out)}
    if not scores:
        return counts | {"holdout_masks": 0}
    miou = {"miou": scores[1].confident_miou, "miou_oracle": scores[1].oracle_miou}
    return counts | {"holdout_masks": len(scores[1].confident)} | miou


def _measured_as_child(store: Store, parent: ModelInfo) -> dict[str, Any]:
    """What the round that made this model measured of it, if that was on the images that are held out now."""
    if parent.card.metrics.get("holdout") != _held_out(store)[1]:
        return {}
    scores = {name: value for name, value in parent.card.metrics.items() if name.endswith("_after")}
    return {name.removesuffix("_after"): value for name, value in scores.items()}


def _held_out(store: Store) -> tuple[list[int], str]:
    """The images that only measure, and a key that changes with them and with their ground truth."""
    images = store.images()
    held_out = images.filter(_is_holdout(images))["image_id"].to_pylist()
    truth = {shard: store.committed(GROUND_TRUTH, shard) for shard in images_by_shard(store, held_out)}
    return held_out, content_key("holdout", held_out, sorted(truth.items()))


def _samples(store: Store, config: EngineConfig, record: Round) -> SnapshotDataset:
    samples = training_samples(
        store,
        tables_versions=store.versions(),
        selection=config.retraining.selection,
        stage=record.stage,
        round=record.round,
        oversampling=config.retraining.oversampling,
    )
    if not len(samples):
        raise WaitError(
            f"{_title(record)}: there are no masks to train on; ingest images with ground truth, or lower the "
            f"thresholds of the generator in {store.workspace / CONFIG_FILE}"
        )
    return samples


def _before_and_after(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    scores = [name for name in after if name.startswith("miou")]
    counts = {name: value for name, value in after.items() if name not in scores}
    return counts | {
        f"{name}_{when}": found[name] for name in scores for when, found in (("before", before), ("after", after))
    }


def _is_holdout(images: pa.Table) -> pa.ChunkedArray:
    return pc.and_(pc.equal(images["split"], "holdout"), images["has_ground_truth"])


def _held_out_samples(store: Store, image_ids: list[int], progress: Progress, what: str) -> Iterator[Sample]:
    done = 0
    for shard, ids in images_by_shard(store, image_ids).items():
        truth = masks_by_image(store.read_shard(GROUND_TRUTH, shard))
        for image_id in ids:
            masks: list[CocoRle] = [
                {"size": [rle.height, rle.width], "counts": rle.counts} for rle in truth.get(image_id, [])
            ]
            yield Sample(store.load_image(image_id), masks)
            done += 1
            progress(what, done, len(image_ids))


def _title(record: Round) -> str:
    return f"{record.stage} round {record.round}"
