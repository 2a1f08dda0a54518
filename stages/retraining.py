"""The end of every round: a model trained on the masks so far, measured, and registered with where it comes from."""

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from engine.checkpoints import CheckpointsAt
from engine.evaluation.model_scores import ModelScores, compare, score_model
from engine.importance import importance_file
from engine.keys import content_key
from engine.known_pictures import KNOWN_PICTURES_FILE, known_pictures_file, write_known_pictures
from engine.mirrors import models_to_write
from engine.replay import WithReplay, read_replay, replay_file
from engine.samples import CocoSamples
from engine.snapshots import SnapshotDataset, training_samples
from engine.store import Store
from model.calibration import Line
from model.devices import device_of
from model.files import file_sha256
from model.predictor import Predictor
from model.registry import ModelCard, ModelInfo, check_name, find_model, list_models
from model.remembering import newest, remembering
from model.sam import Sam
from model.storage import load_model, save_model
from model.training.bad_samples import BadLimit, BadSamples
from model.training.config import TrainingConfig
from model.training.importance import Importances
from model.training.initialise import with_decoder_depth
from model.training.processes import Processes
from model.training.samples import Sample, SampleSource
from model.training.trainer import train
from schemas.config import EngineConfig
from schemas.errors import WaitError
from schemas.round_metrics import RoundMetrics
from schemas.tables import Round
from stages.calibrating import calibrate
from stages.importances import find_importances
from stages.measuring import MeasuringSet, measuring_set, set_aside
from stages.model_choice import Choice, Learn, Way, choose_way, guard, ways, ways_of_new_kind
from stages.new_kind import NewKind, answers_as_before, described_ids, find_new_kind
from stages.progress import Progress
from stages.retraining_recipe import for_new_kind, training_config
from stages.step_rates import StepRates

_REPLAYED_MASKS = 70  # that tell whether old knowledge is forgotten
# Part of every retraining's key: raise it when the same inputs would give another model.
RETRAINING_VERSION = 5


@dataclass(frozen=True)
class Retrained:
    """A registered model, and what was measured of it and of its parent (names as in the report of rounds).

    used: the model that later rounds go on from: this one, or its parent where the guard did not accept it.
    """

    model_id: str
    used: str
    metrics: RoundMetrics


# What retrains a round: `retrain`, or what has other processes do it.
Retraining = Callable[[Store, EngineConfig, Round, Progress], Retrained]


def retrain(store: Store, config: EngineConfig, record: Round, progress: Progress) -> Retrained:
    """Train the round's model on the masks so far, choose how much of that it takes over, measure it and register it.

    All follows from the round, the tables and the settings as they are: a retraining that was killed goes on from its
    last checkpoint, and one that is done already is found, not redone.
    Raises WaitError where there are no masks to train on.
    """
    done = share_of_retraining(store, config, record, progress)
    if done is None:
        raise ValueError("of several processes, each takes its share: share_of_retraining")
    return done


def share_of_retraining(store: Store, config: EngineConfig, record: Round, progress: Progress) -> Retrained | None:
    """`retrain` in each of the processes that a launcher started: they share the steps, the first does the rest.

    None in all others.
    """
    retraining = _Retraining(store, config, record, progress)
    return retraining.found() or retraining.run()


def retrained_model(store: Store, record: Round, model_id: str) -> Retrained:
    """What another process has registered as the model of a round."""
    metrics = RoundMetrics.from_dict(find_model(model_id, store.files.model_roots()).card.metrics)
    return Retrained(model_id, model_id if metrics.accepted else record.model_before, metrics)


class _Retraining:
    """One retraining; what it works with is looked up when it is first needed."""

    def __init__(self, store: Store, config: EngineConfig, record: Round, progress: Progress) -> None:
        self.store, self.config, self.record, self.progress = store, config, record, progress
        self.roots = store.files.model_roots()

    @cached_property
    def processes(self) -> Processes:
        return Processes()

    @property
    def device(self) -> str:
        """What the settings say, or what the launcher gave this process where there are several."""
        if self.processes.count > 1 and self.config.model.device == "auto":
            return str(self.processes.device)
        return device_of(self.config.model.device)

    @cached_property
    def rounds(self) -> list[Round]:
        return self.store.rounds()

    @cached_property
    def parent(self) -> ModelInfo:
        return find_model(self.record.model_before, self.roots)

    @cached_property
    def start(self) -> str:
        """Id of the model that the first round began with: what it knew is not to be forgotten."""
        return self.rounds[0].model_before

    @cached_property
    def aside(self) -> frozenset[int]:
        return set_aside(self.store, self.rounds, seed=self.config.seed)

    @cached_property
    def samples(self) -> SnapshotDataset:
        """Raises WaitError where there is nothing to learn from."""
        settings = self.config.retraining
        samples = training_samples(
            self.store,
            tables_versions=self.store.versions(),
            selection=settings.selection,
            stage=self.record.stage,
            round=self.record.round,
            oversampling=settings.oversampling,
            hard_weight=settings.hard_weight,
            without=self.aside,
        )
        if not len(samples):
            raise WaitError(
                f"{_title(self.record)}: there are no masks to train on; ingest images with ground truth, or lower the "
                f"thresholds of the generator in {self.store.files.config}"
            )
        return samples

    @cached_property
    def training(self) -> TrainingConfig:
        encoder, careful = self.parent.config.encoder, self.known is not None
        return training_config(self.config, self.record, encoder, images=len(self.samples), careful=careful)

    @cached_property
    def known(self) -> Path | None:
        """The file that says on which weights known things rest; None where all are to move alike."""
        settings = self.config.retraining
        if settings.caution == 0 or settings.preset != "retrain":
            return None
        return importance_file(self.parent, self.roots)

    @cached_property
    def known_pictures(self) -> Path | None:
        """The file that says what pictures the start model knows look like; None where it is not to be remembered."""
        if not self.config.retraining.remember:
            return None
        return known_pictures_file(find_model(self.start, self.roots), self.roots)

    @cached_property
    def described(self) -> list[int]:
        """Ids of pictures that tell what is new in this workspace."""
        return described_ids(self.store, self.aside, seed=self.config.seed) if self.known_pictures else []

    @cached_property
    def replay(self) -> CocoSamples | None:
        """Pictures of what the start model knew, none of them of this workspace."""
        settings = self.config.retraining
        file = Path(settings.replay) if settings.replay else replay_file(self.parent, self.roots)
        if file is None or settings.replay_frac == 0:
            return None
        return read_replay(file, leave_out=self.store.has_image)

    @cached_property
    def measured(self) -> MeasuringSet | None:
        return measuring_set(self.store, self.aside, seed=self.config.seed)

    @cached_property
    def lineage(self) -> dict[str, Any]:
        """What the model follows from besides its parent, for its card."""
        return {
            **self.samples.lineage(),
            "version": RETRAINING_VERSION,
            "recipe": content_key(self.training.model_dump_json()),
            "start": self.start,
            "averaging": self.config.retraining.averaging,
            "replay": self.replay.fingerprint() if self.replay else "",
            "replay_frac": self.config.retraining.replay_frac if self.replay else 0.0,
            "importance": file_sha256(self.known)[:16] if self.known else "",
            "caution": self.config.retraining.caution if self.known else 0.0,
            "known_pictures": file_sha256(self.known_pictures)[:16] if self.known_pictures else "",
            "described": content_key(self.described) if self.known_pictures else "",
            "measured": self.measured.key if self.measured else "",
        }

    @cached_property
    def key(self) -> str:
        return content_key(self.record.model_before, json.dumps(self.lineage, sort_keys=True))

    @property
    def checkpoints(self) -> CheckpointsAt:
        return CheckpointsAt(self.store.files.checkpoints / self.key)

    def found(self) -> Retrained | None:
        """The model of this very retraining, where an earlier run registered it."""
        for known in list_models(self.roots[:1]):
            if known.card.trained_on == self.lineage and known.card.parent == self.record.model_before:
                self.checkpoints.remove()
                return retrained_model(self.store, self.record, known.model_id)
        return None

    def run(self) -> Retrained | None:
        """Train; then, in the first of several processes, choose, calibrate, measure and register."""
        name = f"{self.record.stage}-{self.record.round}-{self.key[:6]}"
        check_name(self.roots[0], name)
        parent, _ = load_model(self.record.model_before, self.roots, device=self.device)
        start = parent
        if self.start != self.record.model_before:
            start, _ = load_model(self.start, self.roots, device=self.device)
        new_kind = self._new_kind(start)
        if new_kind is not None:
            self.training = for_new_kind(self.training, self.config)
        sam = with_decoder_depth(copy.deepcopy(newest(parent)), self.training.decoder_depth)
        if not self.processes.is_main:
            self._train(sam, self._importances(sam), new_kind)
            return None
        before = self._score_new(parent, "before")
        old_before = self._score_old(start)
        start_sam = with_decoder_depth(newest(start), sam.config.decoder_depth)
        start_weights = {name: value.detach().clone() for name, value in start_sam.state_dict().items()}
        importances = self._importances(sam)
        skipped = self._train(sam, importances, new_kind)
        trained = {name: value.detach().clone() for name, value in sam.state_dict().items()}
        if new_kind is None:
            choice = self._choose(sam, ways(start_weights, trained, importances), sam.load_state_dict, old_before)
        else:
            sam = remembers = remembering(sam, start, new_kind.recogniser)
            unchanged = answers_as_before(remembers, (sample.image for sample in self._replayed()))
            found = ways_of_new_kind(start_weights, trained)
            choice = self._choose(sam, found, remembers.learn, old_before, old_unchanged=unchanged)
        after = choice.new
        lines = {"single": Line(), "multiple": Line()}
        if after is not None:
            after, lines = calibrate(sam, after)
        metrics = self._metrics(before, after, choice, old_before) | {
            "calibration": {name: asdict(line) for name, line in lines.items()},
            "new_kind": new_kind is not None,
        }
        metrics |= {"skipped": skipped} if skipped else {}
        card = ModelCard(
            name=name,
            parent=self.record.model_before,
            stage=self.record.stage,
            round=self.record.round,
            trained_on=self.lineage,
            training=self.training.model_dump(mode="json"),
            seed=self.training.seed,
            metrics=metrics,
        )
        with models_to_write(self.store.files.models) as models:
            model_id = save_model(sam, models, card)
            if new_kind is not None:  # for who begins another workspace with this model
                write_known_pictures(new_kind.descriptions, sam, models / name / KNOWN_PICTURES_FILE)
        self.checkpoints.remove()
        return retrained_model(self.store, self.record, model_id)

    def _importances(self, sam: Sam) -> Importances | None:
        """Of the weights of the parent, for its new pictures and for what it knows."""
        if self.known is None:
            return None
        told = partial(self.progress, f"{_title(self.record)}, looking")
        return find_importances(sam, self.samples, self.training, self.known, told)

    def _train(self, sam: Sam, importances: Importances | None, new_kind: NewKind | None) -> dict[str, Any]:
        """Returns what was skipped (`BadSamples.to_dict`).

        What the start model knew is replayed only where the new model does not keep it inside.
        """
        source: SampleSource = self.samples
        weights: Sequence[float] = self.samples.weights
        longest_px = self.training.longest_px(sam.image_size)
        self.samples.longest_px = longest_px
        if self.replay is not None and new_kind is None:
            self.replay.longest_px = longest_px
            source = WithReplay(self.samples, weights, self.replay, frac=self.config.retraining.replay_frac)
            weights = source.weights
        config = self.store.files.config
        way_out = f"raise retraining.max_bad_frac in {config}"
        bad = BadSamples(BadLimit(len(source), self.config.retraining.max_bad_frac, way_out=way_out))
        if self.processes.is_main:
            self.checkpoints.fetch()
        self.processes.wait()
        rates = StepRates(self.training)
        train(
            sam,
            source,
            self.training,
            weights=weights,
            checkpoints=self.checkpoints.folder,
            on_checkpoint=self.checkpoints.put,
            data=self.key,
            too_small=f"lower retraining.min_mask_frac in {config}, or check the masks",
            bad=bad,
            step_shares=importances.shares(self.config.retraining.caution) if importances else None,
            on_step=lambda report: self.progress(
                f"{_title(self.record)}, retraining",
                report.step + 1,
                self.training.steps,
                str(rates.add(report)),
            ),
        )
        return bad.to_dict()

    def _new_kind(self, start: Sam) -> NewKind | None:
        if self.known_pictures is None:
            return None
        title = _title(self.record)
        return find_new_kind(self.store, start, self.known_pictures, self.described, title, self.progress)

    def _choose(
        self,
        sam: Sam,
        ways: Iterator[Way],
        learn: Learn,
        old_before: ModelScores | None,
        *,
        old_unchanged: bool = False,
    ) -> Choice:
        """old_unchanged: whether it answers for what the start model knew as that does, so that nothing is measured."""
        score_old = (lambda: old_before) if old_unchanged else partial(self._score_old, sam)
        if not self.config.retraining.averaging:
            return Choice(1.0, self._score_new(sam, "after"), score_old())
        return choose_way(
            ways,
            learn,
            old_before=old_before,
            score_new=partial(self._score_new, sam, "after"),
            score_old=score_old,
        )

    def _score_new(self, sam: Sam, when: str) -> ModelScores | None:
        """On pictures of this workspace that training leaves out."""
        if self.measured is None:
            return None
        what = f"{_title(self.record)}, measuring {when}"
        return self.measured.score(self.store, sam, lambda done, total: self.progress(what, done, total))

    def _score_old(self, sam: Sam) -> ModelScores | None:
        """On what the start model knew before: the replayed pictures, which training has seen."""
        return score_model(Predictor(sam), self._replayed())

    def _replayed(self) -> Iterator[Sample]:
        """The replayed pictures, at full size, with the masks that are measured; none where nothing is replayed."""
        if self.replay is not None:
            masks = self.replay.sampled(max_masks=_REPLAYED_MASKS)
            masks.longest_px = None
            yield from (masks[index] for index in range(len(masks)))

    def _metrics(
        self, before: ModelScores | None, after: ModelScores | None, choice: Choice, old_before: ModelScores | None
    ) -> dict[str, Any]:
        found: dict[str, Any] = {
            "trained_images": self.lineage["images"],
            "trained_masks": self.lineage["masks"],
            "left_out": self.samples.left_out(self.training, side_px=self.parent.config.encoder.img_size),
            "share": choice.share,
            "guard": guard(before, after).to_dict(),
            "measured_on": self.measured.measured_on if self.measured else "",
            "measured_images": self.measured.images if self.measured else 0,
            "measured_masks": self.measured.count if self.measured else 0,
        }
        if before is not None and after is not None:
            found |= compare(before, after)
        if old_before is not None and choice.old is not None:
            found |= {f"old_{name}": value for name, value in compare(old_before, choice.old).items()}
        return found


def _title(record: Round) -> str:
    return f"{record.stage} round {record.round}"
