"""`sam-engine train`: a model from the masks of a workspace or of COCO files, outside the rounds of the engine."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import JsonFlag, emit
from flows.options import DeviceName, MaskFrame


def train(
    workspace: Annotated[str | None, typer.Argument(help="Train on all masks of this workspace.")] = None,
    coco: Annotated[list[Path] | None, typer.Option("--coco", help="Train on COCO json files instead.")] = None,
    images: Annotated[Path | None, typer.Option("--images", help="Folder of the pictures of --coco.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="Recipe: retrain, nano, sam-default or sam-amg.")] = "retrain",
    start: Annotated[
        str | None, typer.Option("--model", "-m", help="Model to start from; the recipe's own where left out.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", help="Start from a new model instead: nano, nano_lite0, vit_b, or a size that a package adds."
        ),
    ] = None,
    decoder_of: Annotated[
        str | None,
        typer.Option("--decoder-of", help="With --size: model to take the prompt encoder and the mask decoder of."),
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
        int,
        typer.Option(
            "--keep-replay",
            min=0,
            help="Keep so many pictures of --coco beside the model, and what rounds ask of its pictures and weights.",
        ),
    ] = 0,
    mask_frame: MaskFrame = "auto",
    max_bad_frac: Annotated[
        float,
        typer.Option("--max-bad-frac", min=0, max=1, help="Skip pictures that cannot be read, up to this share."),
    ] = 0.1,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Train a model by simulated interaction and register it with where it comes from.

    Checkpoints, a log of every step and TensorBoard files go to OUTPUT/.training; a killed run goes on with --resume,
    step for step. A --coco file that is given twice is seen twice as often. Pictures that --keep-replay copies to the
    model's folder remind the retrainings of an engine that starts from it of what it knew.

    For several processes or GPUs: torchrun --nproc-per-node N --no-python sam-engine train ...
    """
    from flows.training_job import TrainingJob

    job = TrainingJob(
        workspace=workspace,
        coco=tuple(coco or ()),
        images=images,
        preset=preset,
        start=start,
        size=size,
        decoder_of=decoder_of,
        name=name,
        output=output,
        steps=steps,
        settings=tuple(settings or ()),
        seed=seed,
        half=half,
        resume=resume,
        keep_replay=keep_replay,
        device=device,
        mask_frame=mask_frame,
        max_bad_frac=max_bad_frac,
    )
    trained = job.run()
    if trained is not None:
        emit(trained.to_dict(), as_json=as_json, text=str(trained))
