"""`sam-engine train-detector`: the object detector that semi-automatic rounds with a model begin with."""

from pathlib import Path
from typing import Annotated

import typer

from flows.console import JsonFlag, emit
from flows.options import DeviceName, MaskFrame


def train_detector(
    coco: Annotated[list[Path], typer.Option("--coco", help="COCO json files to learn from.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model whose image embedding it looks at.")] = "nano",
    images: Annotated[Path | None, typer.Option("--images", help="Folder of the pictures of --coco.")] = None,
    workspace: Annotated[str | None, typer.Option("--workspace", help="Look for the model here first.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Of 8 pictures; default: each picture is seen 8 times.")
    ] = None,
    min_area: Annotated[int, typer.Option("--min-area", min=1, help="Leave out masks of fewer pixels.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Everything random follows from it.")] = 0,
    mask_frame: MaskFrame = "auto",
    max_bad_frac: Annotated[
        float,
        typer.Option("--max-bad-frac", min=0, max=1, help="Skip pictures that cannot be read, up to this share."),
    ] = 0.1,
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Train an object detector on a model's image embedding and keep it beside the model.

    Rounds with `semi_automatic.prefill: detector` go on from it with the masks of their workspace, also with models
    that were trained from this one.
    """
    from flows.detector_job import DetectorJob

    kept = DetectorJob(
        coco=tuple(coco),
        model=model,
        images=images,
        workspace=workspace,
        steps=steps,
        min_area=min_area,
        seed=seed,
        device=device,
        mask_frame=mask_frame,
        max_bad_frac=max_bad_frac,
    ).run()
    emit(kept.to_dict(), as_json=as_json, text=str(kept))
