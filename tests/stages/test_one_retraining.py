"""What a retraining hands to the training, measures, and writes on the card of the model; the training itself is a
stand-in that moves one weight."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.evaluation.model_scores import ModelScores, compare
from engine.evaluation.scores import PromptScores
from engine.importance import IMPORTANCE_FILE, write_importance
from engine.keys import content_key
from engine.replay import REPLAY_FILE, WithReplay
from engine.store import Store
from model.encoder_configs import VIT_B, EfficientNetConfig
from model.files import file_sha256
from model.registry import ModelCard, ModelInfo, find_model, list_models, model_roots
from model.sam import Sam
from model.storage import load_model, save_model
from model.training.presets import training_preset
from schemas.config import EngineConfig
from schemas.errors import WaitError
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH, Round, table_of
from stages import model_choice, retraining
from stages.measuring import MeasuringSet, measuring_set
from stages.model_choice import CAUTIONS, SHARES
from stages.retraining import RETRAINING_VERSION, Retrained, retrain, training_config
from tests.rows import mask_row
from tests.stages.test_step_rates import a_report
from tests.stages.workspaces import make_workspace, write_pictures

STAGE = "assisted_manual"
ENCODER = EfficientNetConfig(width=0.25, depth=0.3, img_size=64)
LINEAGE = ("version", "start", "averaging", "replay", "replay_frac", "importance", "caution", "measured")
RECORD = Round(STAGE, 1, (1, 2), "annotated", "m")


def config_of(**settings: Any) -> EngineConfig:
    return EngineConfig.model_validate({"retraining": settings, "seed": 3})


def test_the_recipe_is_the_presets_with_what_the_settings_name() -> None:
    seed = int(content_key("training", 3, STAGE, 1), 16) % 2**31
    plain = training_preset("retrain", encoder=ENCODER, images=700, seed=seed)
    assert training_config(config_of(), RECORD, ENCODER, images=700) == plain.model_copy(update={"loader_workers": 0})
    settings = {"steps": 7, "masks_per_image": 5, "lr": 0.25, "min_mask_frac": 0.0}
    asked = training_config(config_of(**settings), RECORD, ENCODER, images=700)
    expected = training_preset("retrain", encoder=ENCODER, images=700, seed=seed, steps=7, masks_per_image=5)
    assert asked == expected.model_copy(update={"loader_workers": 0, "lr": 0.25, "min_mask_frac": 0.0})
    assert training_config(config_of(preset="sam-default"), RECORD, VIT_B, images=2).layer_decay == 0.6


def test_a_gpu_is_fed_by_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training_config(config_of(), RECORD, ENCODER, images=700).loader_workers is None


def test_each_retraining_has_its_own_seed() -> None:
    rounds = (RECORD, replace(RECORD, round=2), replace(RECORD, stage="semi_automatic"))
    seeds = {training_config(config_of(), record, ENCODER, images=9).seed for record in rounds}
    other = config_of().model_copy(update={"seed": 4})
    seeds.add(training_config(other, RECORD, ENCODER, images=9).seed)
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


class Training:
    """Stands in for `train`: it moves the IoU token to 1 and remembers what it was told."""

    def __init__(self) -> None:
        self.source: Any = None
        self.options: dict[str, Any] = {}
        self.config: Any = None

    def __call__(self, sam: Sam, source: Any, config: Any, **options: Any) -> None:
        self.source, self.config, self.options = source, config, options
        with torch.no_grad():
            sam.mask_decoder.iou_token.weight.fill_(1.0)
        options["checkpoints"].mkdir(parents=True)
        options["on_step"](a_report(step=1, loss=0.123, ious=(0.5, 0.75), seconds=1.5))


def all_weights_matter(sam: Sam, source: Any, *, looks: int, on_look: Any, **_: Any) -> dict[str, torch.Tensor]:
    """Stands in for `measure_importance`: alike."""
    on_look(looks)
    return {name: torch.ones_like(value) for name, value in sam.named_parameters()}


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    made = Training()
    monkeypatch.setattr(retraining, "train", made)
    monkeypatch.setattr(retraining, "measure_importance", all_weights_matter)
    return made


def annotated(
    folder: Path, *, images: int = 5, holdout: int = 1, steps: int = 2, **settings: Any
) -> tuple[Store, Round]:
    """A workspace of pictures whose ground truth people drew in a first round."""
    asked = {"steps": steps, "masks_per_image": 2} | settings
    store = make_workspace(folder, images=images, holdout=holdout, retraining=asked)
    ids = tuple(row["image_id"] for row in store.images().to_pylist() if row["split"] == "train")
    for shard in store.shards():
        place = {"shard": shard, "stage": STAGE, "round": 1}
        rows = [
            mask_row(Rle.of_row(row), image_id=row["image_id"], **place, origin="manual", annotator="hand")
            for row in store.read_shard(GROUND_TRUTH, shard).to_pylist()
            if row["image_id"] in ids
        ]
        store.replace_shard(STAGE, shard, table_of(STAGE, rows), round=1, key=content_key(shard))
    record = Round(STAGE, 1, ids, "annotated", find_model("tiny", model_roots(store.workspace)).model_id)
    store.put_round(record)
    return store, record


def retrained(store: Store, record: Round, told: list[Any] | None = None) -> Retrained:
    def progress(what: str, done: int, total: int, note: str = "") -> None:
        if told is not None:
            told.append((what, done, total, note))

    return retrain(store, store.files.settings(), record, progress)


def made_here(store: Store) -> ModelInfo:
    (made,) = (model for model in list_models([store.workspace / "models"]) if model.name.startswith(STAGE))
    return made


def token(store: Store, model_id: str) -> float:
    sam = load_model(model_id, model_roots(store.workspace))[0]
    return float(sam.mask_decoder.iou_token.weight.detach().mean())


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


def scores(values: Sequence[float]) -> ModelScores:
    of = np.array(values)
    return ModelScores(*(PromptScores(of, of, of) for _ in range(3)))


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


def test_what_the_start_model_knew_is_replayed_and_measured(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record = annotated(tmp_path, replay=str(tmp_path / "old" / "masks.json"), replay_frac=0.25)
    write_pictures(tmp_path / "old", images=3, first_seed=90)
    measured: list[int] = []

    def score_model(predictor: Any, samples: Any) -> ModelScores:
        kept = list(samples)
        measured.append(sum(len(sample.masks) for sample in kept))
        assert all(sample.image.shape[:2] == (48, 56) for sample in kept), "as large as they are"
        return scores([0.5] * 9)

    monkeypatch.setattr(retraining, "score_model", score_model)
    found = retrained(store, record)
    assert isinstance(training.source, WithReplay)
    assert len(training.source) == 4 + 3
    weights = training.options["weights"]
    assert sum(weights[4:]) / sum(weights) == pytest.approx(0.25)
    assert set(measured) == {9}, "each time the same masks"
    assert found.metrics.score("old_miou").before == found.metrics.score("old_miou").after == 0.5
    lineage = made_here(store).card.trained_on
    assert lineage["replay"]
    assert lineage["replay_frac"] == 0.25


def knows(store: Store, importance: float) -> Path:
    """Known things rest on all weights of the start model alike."""
    sam, info = load_model("tiny", model_roots(store.workspace))
    file = info.folder / IMPORTANCE_FILE
    write_importance({name: torch.full_like(value, importance) for name, value in sam.named_parameters()}, file)
    return file


def test_weights_on_which_known_things_rest_move_less(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path, images=4, holdout=0)
    file = knows(store, 1.0)
    start = token(store, record.model_before)
    told: list[Any] = []
    found = retrained(store, record, told)
    share = 1 / (1 + CAUTIONS[0])
    assert token(store, found.model_id) == pytest.approx(start + share * (1 - start))
    assert found.metrics.share == pytest.approx(share)
    assert made_here(store).card.trained_on["importance"] == file_sha256(file)[:16]
    recipe = training_config(store.files.settings(), record, ENCODER, images=4, careful=True)
    assert training.config == recipe
    assert (recipe.lr, recipe.encoder_lr_factor) == (3e-4, 0.5)
    assert {float(value.mean()) for value in training.options["step_shares"].values()} == {0.5}
    assert made_here(store).card.trained_on["caution"] == 1.0
    assert (f"{STAGE} round 1, looking", 8, 8, "") in told, "twice at each of four pictures"


def test_steps_are_shortened_by_the_caution_that_is_asked_for(tmp_path: Path, training: Training) -> None:
    store, record = annotated(tmp_path, images=4, holdout=0, caution=3)
    knows(store, 1.0)
    retrained(store, record)
    assert {float(value.mean()) for value in training.options["step_shares"].values()} == {0.25}
    assert made_here(store).card.trained_on["caution"] == 3.0


@pytest.mark.parametrize("settings", [{"caution": 0}, {"preset": "nano", "steps": 10, "masks_per_image": None}])
def test_all_weights_move_alike_where_that_is_asked_for(
    tmp_path: Path, training: Training, settings: dict[str, Any]
) -> None:
    store, record = annotated(tmp_path, images=4, holdout=0, **settings)
    knows(store, 1.0)
    found = retrained(store, record)
    assert found.metrics.share == SHARES[0]
    assert training.options["step_shares"] is None
    assert training.config.lr != 3e-4
    assert made_here(store).card.trained_on["importance"] == ""


@pytest.mark.parametrize("settings", [{"replay_frac": 0.0}, {}])
def test_nothing_is_replayed_where_that_is_off_or_there_is_nothing(
    tmp_path: Path, training: Training, settings: dict[str, Any]
) -> None:
    store, record = annotated(tmp_path, **settings)
    if settings:
        replayed = write_pictures(tmp_path / "old", images=2, first_seed=90)
        replayed.rename(store.workspace / "models" / "tiny" / REPLAY_FILE)
    retrained(store, record)
    assert len(training.source) == 4
    lineage = made_here(store).card.trained_on
    assert (lineage["replay"], lineage["replay_frac"]) == ("", 0.0)


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
