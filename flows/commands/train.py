"""`sam-engine train`: a model from the masks of a workspace or of COCO files, outside the rounds of the engine."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note, progress_bars
from flows.settings import parse_settings, setting_error

if TYPE_CHECKING:
    from model.registry import ModelInfo
    from model.sam import Sam
    from model.training.config import TrainingConfig
    from model.training.processes import Processes
    from model.training.trainer import StepReport


def train(
    workspace: Annotated[Path | None, typer.Argument(help="Train on all masks of this workspace.")] = None,
    coco: Annotated[list[Path] | None, typer.Option("--coco", help="Train on COCO json files instead.")] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Folder of the pictures of --coco.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="Recipe: retrain, nano, sam-default or sam-amg.")] = "retrain",
    start: Annotated[
        str | None, typer.Option("--model", "-m", help="Model to start from; the recipe's own where left out.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="Start from a new model instead: nano, vit_b, or a size that a package adds."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the new model.")] = "trained",
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of models to put it in; default: the workspace's, or yours.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Instead of the recipe's number.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: replace a setting of the recipe; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Everything random follows from it.")] = 0,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in 16 bits: half the size.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of this name.")] = False,
    keep_replay: Annotated[
        int, typer.Option("--keep-replay", min=0, help="Keep so many pictures of --coco beside the model, for rounds.")
    ] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Train a model by simulated interaction and register it with where it comes from.

    Checkpoints, a log of every step and TensorBoard files go to OUTPUT/.training; a killed run goes on with --resume,
    step for step. A --coco file that is given twice is seen twice as often. Pictures that --keep-replay copies to the
    model's folder remind the retrainings of an engine that starts from it of what it knew.

    For several processes or GPUs: torchrun --nproc-per-node N --no-python sam-engine train ...
    """
    import torch

    from model.registry import ModelCard, model_roots, read_info, user_models_root
    from model.storage import save_model
    from model.training.memory import plan_memory
    from model.training.processes import Processes
    from model.training.trainer import train as train_model
    from schemas.errors import InputError

    if (workspace is None) == (not coco):
        raise InputError("give either a workspace or --coco FILE, not both and not neither")
    if keep_replay and not coco:
        raise InputError("--keep-replay takes its pictures from --coco FILE; a workspace has them in its stages")
    root = output or (workspace / "models" if workspace else user_models_root())
    folder = root / ".training"
    checkpoints = folder / name
    finished = _finished(root, name, checkpoints, resume=resume)
    source, weights, trained_on = _source(workspace, coco or [], images)
    processes = Processes()
    where = _device(device, processes)
    sam, parent, config = _start(
        start, size, preset, model_roots(workspace), steps, seed, settings or [], where, images=len(source)
    )
    if finished is not None:
        _check_same_run(finished, config, trained_on, parent)
        if processes.is_main:
            shutil.rmtree(checkpoints, ignore_errors=True)
            _tell(finished, config, as_json, already=True)
        return
    source.longest_px = config.longest_px(sam.image_size)
    if processes.is_main:
        several = f", {processes.count} processes" if processes.count > 1 else ""
        note(f"{len(source)} pictures, {config.steps} steps, on {where}{several}")
        note(str(plan_memory(sam, config, processes=processes.count)))
    with _log(folder, name, config, processes) as log:
        reports = train_model(
            sam, source, config, weights=weights, checkpoints=checkpoints, data=_key(trained_on), on_step=log
        )
    if not processes.is_main:
        return
    last = reports[-50:]
    card = ModelCard(
        name=name,
        parent=parent,
        trained_on=trained_on,
        training=config.model_dump(mode="json"),
        seed=seed,
        metrics={"loss": sum(report.loss for report in last) / len(last)} if last else {},
    )
    save_model(sam, root, card, dtype=torch.float16 if half else torch.float32)
    if keep_replay:
        from engine.replay import write_replay

        write_replay(source, root / name, count=keep_replay, longest_px=2 * sam.image_size, seed=seed)
    shutil.rmtree(checkpoints, ignore_errors=True)
    _tell(read_info(root / name), config, as_json)


def _tell(model: "ModelInfo", config: "TrainingConfig", as_json: bool, *, already: bool = False) -> None:
    """Print which model there is now. already: it was there before this run, which trained nothing."""
    result = {"model": model.model_id, "folder": model.folder, "steps": config.steps, "already_trained": already}
    result |= {"loss": model.card.metrics.get("loss")}
    trained = f"was trained already, all {config.steps} steps; it " if already else ""
    emit(result, as_json=as_json, text=f"Model {model.model_id} {trained}is in {model.folder}.")


def _finished(root: Path, name: str, checkpoints: Path, *, resume: bool) -> "ModelInfo | None":
    """The model of this name where --resume finds one; None where there is something to train.

    Raises InputError, before anything is trained, where another model has the name, where a run that was not finished
    has it and this one is not to go on, or where there is nothing to go on from.
    """
    from model.registry import CARD_FILE, check_name, read_info
    from schemas.errors import InputError

    begun = any(checkpoints.glob("step-*.pt"))
    if begun and not resume:
        raise InputError(f"{checkpoints}: a training of this name was not finished; go on with --resume, or delete it")
    if resume and (root / name / CARD_FILE).is_file():
        return read_info(root / name)
    check_name(root, name)
    if resume and not begun:
        raise InputError(f"{checkpoints}: no checkpoint to go on from; leave out --resume to begin this training")
    return None


def _check_same_run(model: "ModelInfo", config: "TrainingConfig", trained_on: dict[str, Any], parent: str) -> None:
    """Raise InputError, saying what differs, where this model is not what the run that is asked for ends with."""
    from model.training.checkpoint import changed_settings
    from schemas.errors import InputError

    changed = changed_settings(config.model_dump(mode="json"), model.card.training)
    other = [f"settings ({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''})"] if changed else []
    other += ["data"] if _key(dict(model.card.trained_on)) != _key(trained_on) else []
    other += ["start model"] if model.card.parent != parent else []
    if other:
        raise InputError(f"{model.folder}: trained with other {', '.join(other)}; use those, or choose another --name")


def _device(device: str, processes: "Processes") -> str:
    """Where this process trains: what the user says, or what the launcher gave it where there are several."""
    from model.devices import device_of

    if processes.count > 1 and device == "auto":
        return str(processes.device)
    return device_of(device)


@contextmanager
def _log(
    folder: Path, name: str, config: "TrainingConfig", processes: "Processes"
) -> "Iterator[Callable[[StepReport], None] | None]":
    """Of several processes one speaks."""
    from flows.training_log import TrainingLog

    if not processes.is_main:
        yield None
        return
    with progress_bars() as progress, TrainingLog(folder, name, config, progress) as log:
        yield log


def _key(trained_on: dict[str, Any]) -> str:
    """A few digits that change with what is trained on."""
    return hashlib.sha256(json.dumps(trained_on, sort_keys=True).encode()).hexdigest()[:16]


def _source(workspace: Path | None, coco: list[Path], images: Path | None) -> tuple[Any, Any, dict[str, Any]]:
    """What to learn from, how often each sample comes, and how the card names it."""
    if workspace is None:
        from engine.samples import CocoSamples

        samples = CocoSamples(coco, images_root=images)
        for problem in samples.problems:
            note(f"{problem.source}: {problem.reason}")
        files = [f"{file.parent.name}/{file.name}" for file in coco]
        return samples, None, {"coco": files, "images": len(samples), "fingerprint": samples.fingerprint()}
    from engine.snapshots import training_samples
    from engine.store import Store

    store = Store(workspace)
    snapshot = training_samples(store, tables_versions=store.versions(), selection="accumulated")
    return snapshot, snapshot.weights, snapshot.lineage()


def _start(
    start: str | None,
    size: str | None,
    preset: str,
    roots: list[Path],
    steps: int | None,
    seed: int,
    settings: list[str],
    device: str,
    *,
    images: int,
) -> "tuple[Sam, str, TrainingConfig]":
    """The model to train, its parent's id ("" for a new one), and the recipe. `nano` makes its own from ImageNet's."""
    from model.config import MODEL_SIZES
    from model.storage import load_model
    from model.training.config import TrainingConfig
    from model.training.initialise import new_model, with_decoder_depth
    from model.training.presets import training_preset
    from schemas.errors import InputError

    if start is not None and size is not None:
        raise InputError("give either --model or --size, not both")
    if size is not None or (start is None and preset == "nano"):
        sam, parent = new_model(MODEL_SIZES[size or "nano"](), seed=seed).to(device), ""
    else:
        sam, info = load_model(start or "nano", roots, device=device)
        parent = info.model_id
    overrides = {} if steps is None else {"steps": steps}
    recipe = training_preset(preset, encoder=sam.config.encoder, images=images, seed=seed, **overrides)
    try:
        config = TrainingConfig.model_validate(recipe.model_dump() | parse_settings(settings))
    except ValueError as error:
        raise setting_error(error, TrainingConfig) from error
    return with_decoder_depth(sam, config.decoder_depth), parent, config
