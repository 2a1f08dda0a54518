"""`sam-engine train`: a model from the masks of a workspace or of COCO files, outside the rounds of the engine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note, progress_bars

if TYPE_CHECKING:
    from model.sam import Sam
    from model.training.config import TrainingConfig
    from model.training.trainer import StepReport


def train(
    workspace: Annotated[Path | None, typer.Argument(help="Train on all masks of this workspace.")] = None,
    coco: Annotated[list[Path] | None, typer.Option("--coco", help="Train on COCO json files instead.")] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Folder of the pictures of --coco.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="Recipe: retrain, nano, sam-default or sam-amg.")] = "retrain",
    start: Annotated[
        str | None, typer.Option("--model", "-m", help="Model to start from; the recipe's own where left out.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the new model.")] = "trained",
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of models to put it in; default: the workspace's, or yours.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Instead of the recipe's number.")] = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in 16 bits: half the size.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of this name.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Train a model by simulated interaction and register it with where it comes from.

    Checkpoints and a log of every step go to OUTPUT/.training; a killed run goes on with --resume, step for step.
    """
    import torch

    from model.registry import ModelCard, model_roots, save_model, user_models_root
    from model.training.initialise import with_decoder_depth
    from model.training.presets import training_preset
    from model.training.trainer import train as train_model
    from schemas.config import ModelConfig
    from schemas.errors import InputError
    from stages.workers import device_of

    if (workspace is None) == (not coco):
        raise InputError("give either a workspace or --coco FILE, not both and not neither")
    source, weights, trained_on = _source(workspace, coco or [], images)
    where = device_of(ModelConfig.model_validate({"device": device}))
    sam, parent = _start_model(start, preset, model_roots(workspace), seed, where)
    overrides = {} if steps is None else {"steps": steps}
    config = training_preset(preset, encoder=sam.config.encoder, seed=seed, **overrides)
    sam = with_decoder_depth(sam, config.decoder_depth)
    root = output or (workspace / "models" if workspace else user_models_root())
    folder = root / ".training"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{name}.pt"
    if checkpoint.exists() and not resume:
        raise InputError(f"{checkpoint}: a training of this name was not finished; go on with --resume, or delete it")
    note(f"{len(source)} pictures, {config.steps} steps, on {where}")
    reports: list[StepReport] = []
    with progress_bars() as progress, (folder / f"{name}.jsonl").open("a", encoding="utf-8") as log:

        def on_step(report: "StepReport") -> None:
            reports.append(report)
            log.write(report.to_json() + "\n")
            log.flush()
            progress("training", report.step + 1, config.steps, _brief(reports, config))

        train_model(sam, source, config, weights=weights, checkpoint=checkpoint, on_step=on_step)
    card = ModelCard(
        name=name,
        parent=parent,
        trained_on=trained_on,
        training=config.model_dump(mode="json"),
        seed=seed,
        metrics={"loss": _mean([report.loss for report in reports[-50:]])} if reports else {},
    )
    model_id = save_model(sam, root, card, dtype=torch.float16 if half else torch.float32)
    checkpoint.unlink(missing_ok=True)
    result = {"model": model_id, "folder": root / name, "steps": config.steps, "loss": card.metrics.get("loss")}
    emit(result, as_json=as_json, text=f"Model {model_id} is in {root / name}.")


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


def _start_model(start: str | None, preset: str, roots: list[Path], seed: int, device: str) -> "tuple[Sam, str]":
    """The model to train and its parent's id, "" for a new one. The recipe `nano` makes its own from ImageNet's."""
    from model.registry import load_model
    from model.sam import nano
    from model.training.initialise import new_model

    if start is None and preset == "nano":
        return new_model(nano(), seed=seed).to(device), ""
    sam, info = load_model(start or "nano", roots, device=device)
    return sam, info.model_id


def _brief(reports: "list[StepReport]", config: "TrainingConfig") -> str:
    last = reports[-20:]
    pictures = sum(config.phase(report.step).batch_size for report in last)
    seconds = sum(report.seconds + report.wait_s for report in last)
    waiting = sum(report.wait_s for report in last) / seconds
    return (
        f"loss {_mean([report.loss for report in last]):.3f}  IoU {_mean([report.ious[-1] for report in last]):.2f}  "
        f"{pictures / seconds:.1f} img/s  waiting for data {waiting:.0%}"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
