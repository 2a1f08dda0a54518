"""`sam-engine train-detector`: the object detector that semi-automatic rounds with a model begin with."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.console import JsonFlag, emit, note, progress_bars


def train_detector(
    coco: Annotated[list[Path], typer.Option("--coco", help="COCO json files to learn from.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model whose image embedding it looks at.")] = "nano",
    images: Annotated[Path | None, typer.Option("--images", help="Folder of the pictures of --coco.")] = None,
    workspace: Annotated[Path | None, typer.Option("--workspace", help="Look for the model here first.")] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Of 8 pictures; default: each picture is seen 8 times.")
    ] = None,
    min_area: Annotated[int, typer.Option("--min-area", min=1, help="Leave out masks of fewer pixels.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Everything random follows from it.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Train an object detector on a model's image embedding and keep it beside the model.

    Rounds with `semi_automatic.prefill: detector` go on from it with the masks of their workspace, also with models
    that were trained from this one.
    """
    from engine.encoded_samples import EncodedSamples
    from engine.samples import CocoSamples
    from model.detector_training import DetectorTraining
    from model.detector_training import train_detector as train
    from model.devices import device_of
    from model.object_detector import DETECTOR_FOLDER, save_detector
    from model.predictor import Predictor
    from model.registry import model_roots
    from model.storage import load_model
    from schemas.errors import InputError

    sam, info = load_model(model, model_roots(workspace), device=device_of(device))
    folder = info.folder / DETECTOR_FOLDER
    if folder.exists():
        raise InputError(f"{folder}: this model has a detector already; delete the folder to train another")
    samples = CocoSamples(coco, images_root=images).sampled(max_masks=None, min_area_px=min_area)
    for problem in samples.problems:
        note(f"{problem.source}: {problem.reason}")
    samples.longest_px = sam.image_size
    once = {"many_images": len(samples), "images_in_memory": len(samples)}
    of_steps = {"passes": 8} if steps is None else {"passes": 1, "min_steps": steps}
    training = DetectorTraining(seed=seed, **once, **of_steps)
    with progress_bars() as progress:
        detector = train(
            EncodedSamples(samples, Predictor(sam)),
            training,
            device=sam.device,
            on_step=lambda done, steps, loss: progress("training the detector", done, steps, f"loss {loss:.2f}"),
        )
    card = {
        "model_id": info.model_id,
        "coco": [f"{file.parent.name}/{file.name}" for file in coco],
        "images": len(samples),
        "min_area": min_area,
        "fingerprint": samples.fingerprint(),
        "training": asdict(training),
    }
    save_detector(detector, folder, card)
    emit({"folder": folder, "images": len(samples)}, as_json=as_json, text=f"The detector is in {folder}.")
