"""The trainings of an ablation: each a model of its own, from masks of one snapshot of a workspace, trained once."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from engine.keys import work_key
from engine.places import Place, place
from engine.replay import WithReplay, read_replay, replay_file
from engine.samples import CocoSamples
from engine.snapshots import SnapshotDataset, training_samples
from engine.store import Store
from model.devices import device_of
from model.registry import CARD_FILE, ModelCard, ModelInfo, find_model, read_info
from model.remembering import newest
from model.storage import load_model, save_model
from model.training.bad_samples import BadLimit, BadSamples
from model.training.config import TrainingConfig
from model.training.initialise import with_decoder_depth
from model.training.presets import training_preset
from model.training.samples import SampleSource
from model.training.trainer import StepReport, train
from schemas.ablation import Ablation
from schemas.errors import InputError
from schemas.presets import GeneratorConfig
from schemas.problems import first_problem
from schemas.stages import Stage
from stages.ablation_masks import GeneratedMasks, generator_of, images_to_generate, make_masks, rank
from stages.ablation_plan import Training
from stages.progress import Progress, silent
from stages.step_rates import StepRates

SNAPSHOT_FILE = "snapshot.json"
_LOCK = ".lock"
_VERSION = 1  # of what is trained; a higher one makes everything be trained again
_RECENT_STEPS = 50  # whose mean loss the card tells


@dataclass(frozen=True)
class TrainedOn:
    """What a training learns from. weights: how often each sample comes. lineage: what that follows from."""

    source: "SnapshotDataset | GeneratedMasks"
    weights: Sequence[float]
    images: int
    masks: int
    lineage: dict[str, Any]


class AblationTrainer:
    """Trains models of an ablation; what is trained already is found by its name, which follows from all it is made of.

    The workspace goes on meanwhile: the tables' versions are those that they had when the ablation was begun.
    """

    def __init__(
        self, store: Store, ablation: Ablation, *, device: str | None = None, progress: Progress = silent
    ) -> None:
        """device: None for the workspace's own."""
        self.store, self.ablation, self.progress = store, ablation, progress
        self._settings = store.files.settings()
        self.device = device_of(device or self._settings.model.device)
        self.folder = place(ablation.output).local_path("the output of an ablation, with its models,")
        self.models = self.folder / "models"
        self.roots = [self.models, *store.files.model_roots()]

    @cached_property
    def versions(self) -> dict[str, int]:
        """Of the tables: those of the first training, where one was begun.

        Raises InputError where the output is of another workspace.
        """
        mine = self.store.files.full_name
        if not self._snapshot.exists():
            return self.store.versions()
        kept = json.loads(self._snapshot.read())
        if kept["workspace"] != mine:
            raise InputError(
                f"{self.folder}: an ablation of the workspace {kept['workspace']}; choose another output for {mine}"
            )
        return {str(name): int(version) for name, version in kept["versions"].items()}

    def _keep_versions(self) -> None:
        if not self._snapshot.exists():
            kept = {"workspace": self.store.files.full_name, "versions": self.versions}
            self._snapshot.write(json.dumps(kept, indent=1).encode())

    @property
    def _snapshot(self) -> Place:
        return place(self.folder / SNAPSHOT_FILE)

    def found(self, training: Training) -> ModelInfo | None:
        """The model of a training that is done. Raises InputError where there is nothing that it could learn from."""
        folder = self.models / self._name(training)
        return read_info(folder) if (folder / CARD_FILE).exists() else None

    def trained_on(self, training: Training) -> TrainedOn:
        """What a training learns from. Raises InputError where that is nothing."""
        if training not in self._known:
            make = self._stored if training.points_per_side is None else self._generated
            self._known[training] = make(training)
        return self._known[training]

    def train(self, training: Training) -> ModelInfo:
        """The model of a training, which a killed run goes on with from its last checkpoint.

        Raises WaitError where another process is at work on this ablation.
        """
        busy = f"{self.folder}: another process trains for this ablation; once it has ended, the same command goes on"
        with place(self.folder / _LOCK).only_one(busy=busy):
            self._keep_versions()
            return self.found(training) or self._trained(training)

    def _trained(self, training: Training) -> ModelInfo:
        name, trained_on, config = self._name(training), self.trained_on(training), self._config(training)
        start, info = load_model(self._start(training).folder, self.roots, device=self.device)
        sam = with_decoder_depth(newest(start), config.decoder_depth)
        trained_on.source.longest_px = config.longest_px(sam.image_size)
        source, weights = self._with_replay(training, trained_on, longest_px=config.longest_px(sam.image_size))
        bad = BadSamples(BadLimit(len(source), self._settings.retraining.max_bad_frac))
        reports = train(
            sam,
            source,
            config,
            weights=weights,
            checkpoints=self.models / ".training" / name,
            data=name,
            bad=bad,
            on_step=self._teller(name, config),
        )
        last = [report.loss for report in reports[-_RECENT_STEPS:]]
        card = ModelCard(
            name=name,
            parent=info.model_id,
            trained_on=self._lineage(training),
            training=config.model_dump(mode="json"),
            seed=training.seed,
            metrics={"loss": float(np.mean(last)) if last else None, "skipped": bad.to_dict()},
            notes="of an ablation",
        )
        save_model(sam, self.models, card)
        place(self.models / ".training" / name).remove()
        return read_info(self.models / name)

    @property
    def steps(self) -> int:
        """Of every training."""
        return self._config(Training(self.ablation.start, ())).steps

    @cached_property
    def _known(self) -> dict[Training, TrainedOn]:
        return {}

    def _name(self, training: Training) -> str:
        return f"ablation-{work_key(_VERSION, self._start(training).model_id, self._lineage(training))[:12]}"

    def _lineage(self, training: Training) -> dict[str, Any]:
        replay = self._replay(training)
        return {
            **self._inputs(training),
            "data": training.data,
            "seed": training.seed,
            "recipe": work_key(self._config(training).model_dump(mode="json", exclude={"loader_workers"})),
            "replay": replay.fingerprint() if replay else "",
            "replay_frac": self._replay_frac if replay else 0.0,
        }

    def _start(self, training: Training) -> ModelInfo:
        return find_model(training.start, self.store.files.model_roots())

    def _config(self, training: Training) -> TrainingConfig:
        """The recipe: the same for all, but for what the encoder and the seed change."""
        steps = {} if self.ablation.steps is None else {"steps": self.ablation.steps}
        encoder = self._start(training).config.encoder
        recipe = training_preset(
            self.ablation.preset, encoder=encoder, images=self._pictures, seed=training.seed, **steps
        )
        workers = {"loader_workers": None if self.device.startswith("cuda") else 0}
        try:
            return TrainingConfig.model_validate(recipe.model_dump() | workers | self.ablation.settings)
        except ValueError as error:
            raise InputError(f"settings of the ablation: {_said(error)}") from error

    @cached_property
    def _pictures(self) -> int:
        """That anything is learned from at all."""
        return max(1, len(self._samples(("assisted_manual", "semi_automatic", "fully_automatic"), {})))

    def _samples(
        self, stages: Sequence[Stage], weights: dict[Stage, float], without: Sequence[int] = ()
    ) -> SnapshotDataset:
        names = ("images", *stages)
        return training_samples(
            self.store,
            tables_versions={name: self.versions[name] for name in names if name in self.versions},
            selection="accumulated",
            oversampling=weights,
            without=without,
        )

    def _inputs(self, training: Training) -> dict[str, Any]:
        """What its masks follow from; those of the generator need not be made for that."""
        if training.points_per_side is None:
            return self.trained_on(training).lineage
        model, config = self._generator(training)
        return {
            "versions": {"images": self.versions["images"]},
            "generated_by": model.model_id,
            "generator": config.config_hash(),
            "pictures": work_key(sorted(self._generated_images)),
        }

    def _stored(self, training: Training) -> TrainedOn:
        weights = dict(training.weights)
        for stage in weights:
            if not self._has_masks(stage):
                raise InputError(
                    f"{self.store.files}: no masks of {stage} to learn from; make some with: sam-engine run {stage} "
                    f"{self.store.files} --until-done, or choose another mix and leave stages out of experiments"
                )
        samples = self._samples(tuple(weights), weights)
        if training.data < 1:
            left_out = _all_but(samples.image_ids, training.data, seed=training.seed)
            samples = self._samples(tuple(weights), weights, left_out)
        lineage = samples.lineage()
        return TrainedOn(samples, samples.weights, lineage["images"], lineage["masks"], lineage)

    def _has_masks(self, stage: Stage) -> bool:
        if stage not in self._stages_with_masks:
            self._stages_with_masks[stage] = len(self._samples((stage,), {})) > 0
        return self._stages_with_masks[stage]

    @cached_property
    def _stages_with_masks(self) -> dict[Stage, bool]:
        return {}

    def _generated(self, training: Training) -> TrainedOn:
        model, config = self._generator(training)
        image_ids = self._generated_images
        folder = make_masks(
            self.store,
            image_ids,
            place(self.folder / "generated"),
            model,
            config,
            device=self.device,
            progress=self.progress,
        )
        samples = GeneratedMasks(self.store, sorted(image_ids), folder)
        if not len(samples):
            raise InputError(
                f"the generator with {training.points_per_side} points a side makes no masks of {len(image_ids)} "
                f"pictures; lower the thresholds of fully_automatic.generator in {self.store.files.config}"
            )
        return TrainedOn(samples, [1.0] * len(samples), len(samples), samples.mask_count, self._inputs(training))

    def _generator(self, training: Training) -> tuple[ModelInfo, GeneratorConfig]:
        model, config = generator_of(self.store)
        return model, config.model_copy(update={"points_per_side": training.points_per_side})

    @cached_property
    def _generated_images(self) -> list[int]:
        version, most = self.versions["images"], self.ablation.generator_images
        return images_to_generate(self.store, version=version, most=most, seed=self.ablation.seed)

    def _with_replay(
        self, training: Training, trained_on: TrainedOn, *, longest_px: int | None
    ) -> tuple[SampleSource, Sequence[float]]:
        replay = self._replay(training)
        if replay is None:
            return trained_on.source, trained_on.weights
        replay.longest_px = longest_px
        source = WithReplay(trained_on.source, trained_on.weights, replay, frac=self._replay_frac)
        return source, source.weights

    @property
    def _replay_frac(self) -> float:
        asked = self.ablation.replay_frac
        return self._settings.retraining.replay_frac if asked is None else asked

    def _replay(self, training: Training) -> CocoSamples | None:
        """Pictures of what the start model knew, none of them of this workspace."""
        if training.start not in self._replays:
            of_workspace = self._settings.retraining.replay
            file = Path(of_workspace) if of_workspace else replay_file(self._start(training), self.roots)
            none = file is None or self._replay_frac == 0
            self._replays[training.start] = (
                None if none or file is None else read_replay(file, leave_out=self.store.has_image)
            )
        return self._replays[training.start]

    @cached_property
    def _replays(self) -> dict[str, CocoSamples | None]:
        return {}

    def _teller(self, name: str, config: TrainingConfig) -> Callable[[StepReport], None]:
        rates = StepRates(config)
        return lambda report: self.progress(name, report.step + 1, config.steps, str(rates.add(report)))


def _all_but(image_ids: Sequence[int], frac: float, *, seed: int) -> list[int]:
    """Images that are left out where a share is kept, at least one; a larger share has those of a smaller one."""
    ordered = sorted(set(image_ids), key=lambda image_id: rank(seed, image_id))
    return ordered[max(1, round(frac * len(ordered))) :]


def _said(error: ValueError) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    problem = first_problem(error)
    return f"{problem.key}: {'no such setting' if problem.unknown else problem.message}"
