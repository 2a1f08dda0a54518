"""`sam-engine evaluate groups`: whether a model is as good on the masks of each group."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note, progress_bars
from flows.options import DeviceName, ImagesFolder, MaskFrame, ModelName, ModelWorkspace
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.evaluation.groups import Group

_KEYS = ("annotation_id", "id")
_NAMED = 10  # ids that a line names, at most


def groups(
    coco: Annotated[Path, typer.Option("--coco", help="COCO json with ground-truth masks.")],
    groups: Annotated[
        Path, typer.Option("--groups", help="Labels of masks: .csv or .json with annotation_id and other columns.")
    ],
    images: ImagesFolder = None,
    model: ModelName = "nano",
    workspace: ModelWorkspace = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the tables there: .md.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first points.")] = 0,
    mask_frame: MaskFrame = "auto",
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Measure a model on groups of masks, from 1 and from 3 points (SAM paper, tables 2 and 6).

    The first point of a mask is random, the next ones correct. Intervals are 95 % bootstrap intervals over pictures;
    which of a column do not touch is told. A mask may have labels in several columns: age, skin tone, clothing.
    """
    from engine.evaluation.groups import group_notes, group_values, groups_by_column, score_labelled
    from engine.files import write_atomic
    from engine.label_tables import read_labels
    from engine.samples import CocoSamples
    from engine.workspace import roots_of
    from model.devices import device_of
    from model.predictor import Predictor
    from model.storage import load_model
    from schemas.errors import InputError

    _, labels = read_labels(groups, _KEYS)
    sam, info = load_model(model, roots_of(workspace), device=device_of(device))
    every = CocoSamples([coco], images_root=images, mask_frame=mask_frame)
    for problem in every.problems:
        note(f"{problem.source}: {problem.reason}")
    samples = every.of_annotations(labels.keys())
    if samples is None:
        raise InputError(f"{groups}: none of its {len(labels)} ids is one of a mask in {coco}; give annotation ids")
    with progress_bars() as progress:
        scores = score_labelled(Predictor(sam), _told(samples, progress), seed=seed)
    assert scores is not None  # samples have at least one mask
    by_column = groups_by_column(scores, labels)
    unknown = sorted(labels.keys() - set(scores.mask_ids.tolist()))
    notes = [
        f"{info.name} ({info.model_id}), {counted(len(scores.mask_ids), 'mask')}; 95 % "
        "bootstrap intervals over pictures."
    ]
    notes += [_unknown_line(unknown)] if unknown else []
    for column, found in by_column.items():
        notes += group_notes(column, found, labels, where="the COCO file")
    result: dict[str, Any] = {"model": info.model_id, "masks": len(scores.mask_ids), "unknown_ids": unknown}
    result |= {"columns": {column: group_values(found) for column, found in by_column.items()}, "notes": notes}
    if output is not None:
        write_atomic(output, _markdown(by_column, notes).encode())
    emit(result, as_json=as_json, text=None if as_json else _shown(by_column, notes))


def _told(samples: Any, progress: Any) -> Any:
    """Pictures with the ids of their masks."""
    for index in range(len(samples)):
        progress("evaluating", index, len(samples))
        yield samples[index], samples.annotation_ids(index)
    progress("evaluating", len(samples), len(samples))


def _unknown_line(unknown: list[int]) -> str:
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    return f"Ids that no mask of the COCO file has: {', '.join(map(str, unknown[:_NAMED]))}{more}."


def _markdown(by_column: "dict[str, list[Group]]", notes: list[str]) -> str:
    from engine.evaluation.groups import group_columns, group_rows

    lines = ["# mIoU by groups", ""]
    for column, found in by_column.items():
        rows = [group_columns(column), ("---",) * 5, *group_rows(found)] if found else []
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join([*lines, *(f"- {line}" for line in notes), ""])


def _shown(by_column: "dict[str, list[Group]]", notes: list[str]) -> Any:
    from rich.console import Group as Together
    from rich.table import Table

    from engine.evaluation.groups import group_columns, group_rows

    tables = []
    for column, found in by_column.items():
        table = Table(*group_columns(column))
        for row in group_rows(found):
            table.add_row(*row)
        tables += [table] if found else []
    return Together(*tables, *notes)
