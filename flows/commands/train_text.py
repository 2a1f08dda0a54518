"""`sam-engine train-text`: what lets a model find things by words."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.console import JsonFlag, emit
from flows.options import DeviceName, MaskFrame


def train_text(
    coco: Annotated[list[Path], typer.Option("--coco", help="COCO json files to learn from; may be repeated.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model that shall understand words.")] = "nano",
    images: Annotated[Path | None, typer.Option("--images", help="Folder of the pictures of --coco.")] = None,
    workspace: Annotated[str | None, typer.Option("--workspace", help="Look for the model here first.")] = None,
    encoder: Annotated[
        str, typer.Option("--encoder", help="What makes numbers of words: minilm, clip, or a package's.")
    ] = "minilm",
    encoder_weights: Annotated[
        Path | None,
        typer.Option("--encoder-weights", help="Its weights, where no package brings them; see docs/text.md."),
    ] = None,
    learn_from: Annotated[
        Literal["labels", "pictures"],
        typer.Option("--learn-from", help="The labels of masks, or what CLIP sees of each mask, which needs none."),
    ] = "labels",
    passes: Annotated[int, typer.Option("--passes", min=1, help="How often each picture is learned from.")] = 12,
    min_area: Annotated[int, typer.Option("--min-area", min=1, help="Leave out masks of fewer pixels.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Everything random follows from it.")] = 0,
    mask_frame: MaskFrame = "auto",
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Teach a model to find things by words: train a small text head and keep it beside the model.

    The model itself stays as it is. A label that a picture lacks and others of its file have counts as not there.
    Afterwards: sam-engine generate --text, Predictor.predict(text=...), sam-engine evaluate text.
    """
    from flows.text_job import TextJob

    kept = TextJob(
        coco=tuple(coco),
        model=model,
        images=images,
        workspace=workspace,
        encoder=encoder,
        encoder_weights=encoder_weights,
        learn_from=learn_from,
        passes=passes,
        min_area=min_area,
        seed=seed,
        device=device,
        mask_frame=mask_frame,
    ).run()
    emit(kept.to_dict(), as_json=as_json, text=str(kept))
