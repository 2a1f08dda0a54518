"""Options that several commands have, each with one name, one help text and one type."""

from pathlib import Path
from typing import Annotated, Literal

import typer

CocoFiles = Annotated[list[Path], typer.Option("--coco", help="COCO json with ground-truth masks; may be repeated.")]
ImagesFolder = Annotated[
    Path | None, typer.Option("--images", help="Folder that file names in the json are relative to.")
]
ModelName = Annotated[str, typer.Option("--model", "-m", help="Name or id of a model, or its folder.")]
ModelWorkspace = Annotated[str | None, typer.Option("--workspace", help="Also look for the model there.")]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
MaskFrame = Annotated[
    Literal["auto", "stored", "upright"],
    typer.Option(help="Whether masks of photos with EXIF orientation lie on the stored pixels; auto finds out."),
]
