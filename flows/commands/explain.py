"""`sam-engine explain`: where a mask came from."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.store import Store
    from model.registry import ModelInfo


def explain(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    mask_id: Annotated[int, typer.Argument(help="Id of a mask, as in the tables and in a release.")],
    as_json: JsonFlag = False,
) -> None:
    """Print the chain behind a mask: image, prompt, annotator, model, and what that model was trained on."""
    from engine.store import Store

    found = lineage_of_mask(Store(workspace), mask_id)
    emit(found, as_json=as_json, text=None if as_json else _as_text(found))


def lineage_of_mask(store: "Store", mask_id: int) -> dict[str, Any]:
    """The row of a mask, its image, what annotators did for it, and its model with all that model's ancestors.

    Raises InputError where the workspace has no such mask.
    """
    from engine.delta import rows_where
    from schemas.errors import InputError
    from schemas.mask import Mask

    mask = store.find_mask(mask_id)
    if mask is None:
        raise InputError(f"{store.files}: no mask {mask_id}; ids stand in the tables and in the json of a release")
    image = store.read_image("images", mask["image_id"]).to_pylist()[0]
    events = rows_where(store.read_image("events", mask["image_id"]), mask_id=mask_id).sort_by("at_s").to_pylist()
    shown = {key: value for key, value in mask.items() if key not in ("rle", "shard")}
    mended = Mask.from_row(mask).prompt.mask
    shown["mask_prompt"] = None if mended is None else mended.to_coco()
    return {
        "mask": shown,
        "image": {key: image[key] for key in ("image_id", "path", "source", "width", "height", "split")},
        "events": [
            {"kind": event["kind"], "at_s": event["at_s"], "detail": json.loads(event["detail"])} for event in events
        ],
        "models": [_describe(model) for model in _ancestry(store, mask["model_id"])],
    }


def _ancestry(store: "Store", model_id: str) -> "list[ModelInfo]":
    """A model, its parent, and so on to the one that nobody here trained."""
    from model.registry import list_models

    known = {model.model_id: model for model in list_models(store.files.model_roots())}
    chain: list[ModelInfo] = []
    while model_id in known and known[model_id] not in chain:
        chain.append(known[model_id])
        model_id = known[model_id].card.parent
    return chain


def _describe(model: "ModelInfo") -> dict[str, Any]:
    card = model.card
    return {
        "id": model.model_id,
        "name": card.name,
        "parent": card.parent,
        "stage": card.stage,
        "round": card.round,
        "trained_on": dict(card.trained_on),
        "seed": card.seed,
        "metrics": dict(card.metrics),
        "notes": card.notes,
    }


def _as_text(found: dict[str, Any]) -> str:
    mask, image = found["mask"], found["image"]
    made_with = f" with model {mask['model_id']}" if mask["model_id"] else ""
    lines = [
        f"mask {mask['mask_id']}: {mask['area']} px, box {[round(v) for v in mask['bbox']]} (XYXY)",
        f"  image {image['image_id']}: {image['path']} ({image['width']}x{image['height']}), from {image['source']}",
        f"  table {mask['table']}, round {mask['round']}: {mask['origin']}, by {mask['annotator']}{made_with}",
        f"  prompt: {_prompt(mask)}",
        f"  predicted IoU {mask['predicted_iou']:.3f}, stability {mask['stability_score']:.3f}",
        f"  {counted(mask['clicks'], 'click')}, {mask['seconds']:.1f} s"
        + (" (simulated)" if mask["annotator"] == "simulated" else ""),
    ]
    if mask["generator_config"]:
        lines.append(f"  generator settings {mask['generator_config']}")
    lines += [f"  {event['at_s']:8.1f} s  {event['kind']}  {event['detail']}" for event in found["events"]]
    for depth, model in enumerate(found["models"]):
        lines.append(f"{'  ' * (depth + 1)}model {model['name']} ({model['id']}){_origin(model)}")
    return "\n".join(lines)


def _prompt(mask: dict[str, Any]) -> str:
    """What the mask was made from, each part by its name."""
    points = [f"({point['x']:g}, {point['y']:g}) {'+' if point['label'] else '-'}" for point in mask["points"]]
    parts = ["points " + ", ".join(points)] if points else []
    parts += [f"box {[round(side, 1) for side in mask['box']]} (XYXY)"] if mask["box"] else []
    parts += ["the mask that was there before"] if mask["mask_prompt"] else []
    return "; ".join(parts) or "none"


def _origin(model: dict[str, Any]) -> str:
    if not model["stage"]:
        return f": {model['notes'] or 'start model'}"
    trained_on = model["trained_on"]
    versions = ", ".join(f"{table} v{version}" for table, version in trained_on.get("versions", {}).items())
    rule = trained_on.get("selection", "unknown rule")
    return f": {model['stage']} round {model['round']}, trained on {versions} ({rule}), seed {model['seed']}"
