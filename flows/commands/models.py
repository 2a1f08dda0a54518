"""`sam-engine models`: which models there are, and how to get more."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, progress_bars

if TYPE_CHECKING:
    from model.registry import ModelInfo

app = typer.Typer(no_args_is_help=True, help="Models: list them, import weights, fetch published weights.")
Workspace = Annotated[
    str | None, typer.Option(help="A workspace, whose models are looked at or added to; default: the user's models.")
]
# Systems whose masks come from elsewhere: there is no model of them to be had, and nothing to fetch.
WITHOUT_WEIGHTS = {
    "FastSAM": "chooses among masks of any YOLO-seg: generate or masks --proposals RESULTS.json",
    "Grounded-SAM": "makes masks of boxes that any detector found by phrases: masks RESULTS.json --images FOLDER",
}


@app.command("list")
def list_(workspace: Workspace = None, as_json: JsonFlag = False) -> None:
    """List the models that can be used, and what works without weights of its own."""
    from engine.workspace import roots_of
    from model.registry import list_models

    models = [_describe(model) for model in list_models(roots_of(workspace))]
    lines = [f"{m['name']:<28} {m['id']}  {m['size_mb']:8.1f} MB  {m['folder']}" for m in models]
    lines = lines or ["no models yet"]
    lines += [f"{name:<28} no weights; {use}" for name, use in WITHOUT_WEIGHTS.items()]
    without = [{"name": name, "use": use} for name, use in WITHOUT_WEIGHTS.items()]
    emit({"models": models, "without_weights": without}, as_json=as_json, text="\n".join(lines))


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="Weights of SAM, MobileSAM, SAM-HQ or SAM 2: .pth, .pt or .safetensors.")
    ],
    name: Annotated[str, typer.Option(help="Name of the model; default: the architecture it is recognised as.")] = "",
    workspace: Workspace = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a model of a weights file. Only tensors are read from it, never code."""
    from model.storage import import_weights

    with _root(workspace) as root:
        new = import_weights(file, root, name=name)
    _tell_new(_kept(new, workspace), "imported", as_json)


@app.command("fetch")
def fetch_(
    name: Annotated[
        str, typer.Argument(help="Published weights: vit_h, vit_l, vit_b, vit_t, or SAM 2.1: sam2.1_hiera_tiny, ...")
    ],
    workspace: Workspace = None,
    as_json: JsonFlag = False,
) -> None:
    """Download published weights, check them and import them; a broken download goes on where it stopped."""
    from model.fetch import fetch

    with progress_bars() as progress, _root(workspace) as root:
        new = fetch(name, root, progress=lambda done, total: progress(f"fetch {name}", done, total))
    _tell_new(_kept(new, workspace), "fetched", as_json)


def _root(workspace: str | None) -> AbstractContextManager[Path]:
    """Where a new model is put, until the block ends."""
    from engine.mirrors import models_to_write
    from engine.places import place
    from engine.store import Store
    from model.registry import user_models_root

    models = place(user_models_root()) if workspace is None else Store(workspace).files.models
    return models_to_write(models)


def _kept(model: "ModelInfo", workspace: str | None) -> "ModelInfo":
    """A new model where it is now."""
    from engine.workspace import roots_of
    from model.registry import read_info

    return read_info(roots_of(workspace)[0] / model.name)


def _tell_new(model: "ModelInfo", verb: str, as_json: bool) -> None:
    text = f"{verb} {model.name} ({model.model_id}): {model.folder}"
    emit(_describe(model), as_json=as_json, text=text)


def _describe(model: "ModelInfo") -> dict[str, Any]:
    return {
        "name": model.name,
        "id": model.model_id,
        "folder": model.folder,
        "size_mb": model.size_bytes / 1e6,
        "parent": model.card.parent,
        "stage": model.card.stage,
        "round": model.card.round,
        "notes": model.card.notes,
    }
