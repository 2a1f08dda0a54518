"""A training that a user asks for: all is looked at first, then it runs, then the model is registered."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from engine.importance import IMPORTANCE_FILE, IMPORTANCE_LOOKS, measure_importance, write_importance
from engine.known_pictures import KNOWN_PICTURES_FILE, describe_samples, write_known_pictures
from engine.labels.frames import MaskFrame
from engine.places import place
from engine.replay import write_replay
from engine.samples import CocoSamples
from engine.snapshots import SnapshotDataset, training_samples
from engine.store import Store
from engine.workspace import Workspace, roots_of
from flows.console import note, progress_bars
from flows.settings import parse_settings, setting_error
from flows.skipped import skipped_text
from flows.training_log import TrainingLog
from model import storage
from model.config import MODEL_SIZES
from model.devices import device_of
from model.registry import CARD_FILE, ModelCard, ModelInfo, check_name, read_info, user_models_root
from model.remembering import newest
from model.sam import Sam
from model.training import trainer
from model.training.bad_samples import MAX_BAD_FRAC, BadLimit, BadSamples
from model.training.checkpoint import changed_settings
from model.training.config import TrainingConfig
from model.training.initialise import new_model, take_decoder, with_decoder_depth
from model.training.memory import plan_memory
from model.training.presets import training_preset
from model.training.processes import Processes
from model.training.trainer import StepReport
from schemas.counted import counted
from schemas.errors import InputError

_RECENT_STEPS = 50  # whose mean loss the card tells


@dataclass(frozen=True)
class TrainedModel:
    """A model that a job ends with. already: it was there before, and nothing was trained."""

    info: ModelInfo
    steps: int
    already: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.info.model_id,
            "folder": self.info.folder,
            "steps": self.steps,
            "already_trained": self.already,
            "loss": self.info.card.metrics.get("loss"),
            "skipped": self.info.card.metrics.get("skipped", {}),
        }

    def __str__(self) -> str:
        trained = f"was trained already, all {counted(self.steps, 'step')}; it " if self.already else ""
        skipped = skipped_text(self.info.card.metrics.get("skipped", {}))
        return f"Model {self.info.model_id} {trained}is in {self.info.folder}.{skipped}"


@dataclass(frozen=True)
class _Data:
    """What to learn from, how often each sample comes (None: alike), and how the card names it."""

    source: CocoSamples | SnapshotDataset
    weights: Sequence[float] | None
    lineage: dict[str, Any]

    @property
    def key(self) -> str:
        """A few digits that change with what is trained on."""
        return _key_of(self.lineage)


@dataclass(frozen=True)
class _Plan:
    """The model as it begins, its parent's id ("" for a new one), and the recipe."""

    sam: Sam
    parent: str
    config: TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """The options of `sam-engine train`, which says what each is for."""

    workspace: str | None
    coco: tuple[Path, ...]
    images: Path | None
    preset: str
    start: str | None
    size: str | None
    decoder_of: str | None
    name: str
    output: Path | None
    steps: int | None
    settings: tuple[str, ...]
    seed: int
    half: bool
    resume: bool
    keep_replay: int
    device: str
    mask_frame: MaskFrame = "auto"
    max_bad_frac: float = MAX_BAD_FRAC

    def run(self) -> TrainedModel | None:
        """Train and register the model, or find it; None in all but the first of several processes.

        Raises InputError, before anything is trained, for options that do not go together, for a name that cannot be
        had, and for data, model or device that are not there; while it trains, where too many pictures cannot be read.
        """
        self._check_options()
        finished = self._finished()
        processes = Processes()
        where = self._device(processes)
        data = self._data()
        bad = self._bad(data, processes)
        plan = self._plan(where, images=len(data.source))
        if finished is not None:
            _check_same_run(finished, plan, data)
        else:
            reports = self._train(plan, data, bad, processes, where)
        if not processes.is_main:
            return None
        info = finished or self._register(plan, data, bad, reports)
        place(self._checkpoints).remove()
        return TrainedModel(info, plan.config.steps, already=finished is not None)

    @cached_property
    def _root(self) -> Path:
        if self.output is not None or self.workspace is None:
            return self.output or user_models_root()
        return Workspace(self.workspace).models.local_path("without --output FOLDER, a model that is trained")

    @property
    def _folder(self) -> Path:
        return self._root / ".training"

    @property
    def _checkpoints(self) -> Path:
        return self._folder / self.name

    def _check_options(self) -> None:
        if (self.workspace is None) == (not self.coco):
            raise InputError("give either a workspace or --coco FILE, not both and not neither")
        if self.decoder_of is not None and self.size is None:
            raise InputError("--decoder-of goes with --size, whose new model it gives its decoder to")
        if self.keep_replay and not self.coco:
            raise InputError("--keep-replay takes its pictures from --coco FILE; a workspace has them in its stages")

    def _finished(self) -> ModelInfo | None:
        """The model of this name where --resume finds one; None where there is something to train.

        Raises InputError where another model has the name, where a run that was not finished has it and this one is not
        to go on, or where there is nothing to go on from.
        """
        checkpoints = self._checkpoints
        begun = bool(place(checkpoints).find("step-*.pt"))
        if begun and not self.resume:
            raise InputError(
                f"{checkpoints}: a training of this name was not finished; go on with --resume, or delete it"
            )
        if self.resume and (self._root / self.name / CARD_FILE).exists():
            return read_info(self._root / self.name)
        check_name(self._root, self.name)
        if self.resume and not begun:
            raise InputError(f"{checkpoints}: no checkpoint to go on from; leave out --resume to begin this training")
        return None

    def _data(self) -> _Data:
        if self.workspace is None:
            samples = CocoSamples(list(self.coco), images_root=self.images, mask_frame=self.mask_frame)
            for problem in samples.problems:
                note(f"{problem.source}: {problem.reason}")
            files = [f"{file.parent.name}/{file.name}" for file in self.coco]
            lineage = {"coco": files, "images": len(samples), "fingerprint": samples.fingerprint()}
            return _Data(samples, None, lineage)
        store = Store(self.workspace)
        snapshot = training_samples(store, tables_versions=store.versions(), selection="accumulated")
        return _Data(snapshot, snapshot.weights, snapshot.lineage())

    def _bad(self, data: _Data, processes: Processes) -> BadSamples:
        """Raises InputError where too many pictures are known to be bad before the first step."""
        before = tuple(data.source.bad) if isinstance(data.source, CocoSamples) else ()
        limit = BadLimit(len(data.source) + len(before), self.max_bad_frac, before)
        return BadSamples(limit, tell=note if processes.is_main else None)

    def _device(self, processes: Processes) -> str:
        """Where this process trains: what the user says, or what the launcher gave it where there are several."""
        if processes.count > 1 and self.device == "auto":
            return str(processes.device)
        return device_of(self.device)

    def _plan(self, device: str, *, images: int) -> _Plan:
        """`nano` without a model makes its own from ImageNet's weights."""
        if self.start is not None and self.size is not None:
            raise InputError("give either --model or --size, not both")
        if self.size is not None or (self.start is None and self.preset == "nano"):
            sam, parent = self._new(device)
        else:
            loaded, info = storage.load_model(self.start or "nano", roots_of(self.workspace), device=device)
            sam, parent = newest(loaded), info.model_id
            if sam is not loaded:
                note(f"{info.name}: trained on as what it learned last; the model that it remembers is left behind")
        overrides = {} if self.steps is None else {"steps": self.steps}
        recipe = training_preset(self.preset, encoder=sam.config.encoder, images=images, seed=self.seed, **overrides)
        try:
            config = TrainingConfig.model_validate(recipe.model_dump() | parse_settings(self.settings))
        except ValueError as error:
            raise setting_error(error, TrainingConfig) from error
        return _Plan(with_decoder_depth(sam, config.decoder_depth), parent, config)

    def _new(self, device: str) -> tuple[Sam, str]:
        """A new model, and the id of the one that its decoder is of ("" for none)."""
        sam = new_model(MODEL_SIZES[self.size or "nano"](), seed=self.seed).to(device)
        if self.decoder_of is None:
            return sam, ""
        other, info = storage.load_model(self.decoder_of, roots_of(self.workspace), device=device)
        take_decoder(sam, other)
        return sam, info.model_id

    def _train(self, plan: _Plan, data: _Data, bad: BadSamples, processes: Processes, where: str) -> list[StepReport]:
        data.source.longest_px = plan.config.longest_px(plan.sam.image_size)
        if processes.is_main:
            several = f", {processes.count} processes" if processes.count > 1 else ""
            note(f"{counted(len(data.source), 'picture')}, {counted(plan.config.steps, 'step')}, on {where}{several}")
            note(str(plan_memory(plan.sam, plan.config, processes=processes.count)))
        with self._log(plan.config, processes) as log:
            return trainer.train(
                plan.sam,
                data.source,
                plan.config,
                weights=data.weights,
                checkpoints=self._checkpoints,
                data=data.key,
                bad=bad,
                on_step=log,
            )

    @contextmanager
    def _log(self, config: TrainingConfig, processes: Processes) -> Iterator[Callable[[StepReport], None] | None]:
        """Of several processes one speaks."""
        if not processes.is_main:
            yield None
            return
        with progress_bars() as progress, TrainingLog(self._folder, self.name, config, progress) as log:
            yield log

    def _register(self, plan: _Plan, data: _Data, bad: BadSamples, reports: Sequence[StepReport]) -> ModelInfo:
        last = reports[-_RECENT_STEPS:]
        metrics: dict[str, Any] = {"loss": sum(report.loss for report in last) / len(last)} if last else {}
        card = ModelCard(
            name=self.name,
            parent=plan.parent,
            trained_on=data.lineage,
            training=plan.config.model_dump(mode="json"),
            seed=self.seed,
            metrics=metrics | ({"skipped": bad.to_dict()} if bad.to_dict() else {}),
        )
        storage.save_model(plan.sam, self._root, card, dtype=torch.float16 if self.half else torch.float32)
        folder = self._root / self.name
        if self.keep_replay and isinstance(data.source, CocoSamples):  # which `_check_options` has seen to
            longest_px = 2 * plan.sam.image_size
            skipped = {each.sample for each in bad.found()}
            write_replay(
                data.source, folder, count=self.keep_replay, longest_px=longest_px, seed=self.seed, without=skipped
            )
            importance = measure_importance(plan.sam, data.source, looks=IMPORTANCE_LOOKS, seed=self.seed)
            write_importance(importance, folder / IMPORTANCE_FILE)
            data.source.longest_px = longest_px
            descriptions = describe_samples(plan.sam, data.source, seed=self.seed)
            write_known_pictures(descriptions, plan.sam, folder / KNOWN_PICTURES_FILE)
        return read_info(folder)


def _check_same_run(model: ModelInfo, plan: _Plan, data: _Data) -> None:
    """Raise InputError, saying what differs, where this model is not what the run that is asked for ends with."""
    changed = changed_settings(plan.config.model_dump(mode="json"), model.card.training)
    other = [f"settings ({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''})"] if changed else []
    other += ["data"] if _key_of(dict(model.card.trained_on)) != data.key else []
    other += ["start model"] if model.card.parent != plan.parent else []
    if other:
        raise InputError(f"{model.folder}: trained with other {', '.join(other)}; use those, or choose another --name")


def _key_of(lineage: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(lineage, sort_keys=True).encode()).hexdigest()[:16]
