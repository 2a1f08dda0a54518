"""`sam-engine evaluate`: how good a model is on any COCO-format data."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note, progress_bars
from flows.options import CocoFiles, DeviceName, ImagesFolder, MaskFrame, ModelName, ModelWorkspace
from flows.settings import parse_settings
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.evaluation.evaluations import Measured


def evaluate(
    name: Annotated[
        str, typer.Argument(help="points, boxes, masks, shapes, edges, proposals, instances, text, or a package's.")
    ],
    coco: CocoFiles,
    images: ImagesFolder = None,
    model: ModelName = "nano",
    workspace: ModelWorkspace = None,
    clicks: Annotated[
        str | None, typer.Option("--clicks", help="points: numbers of clicks to report; default: 1,2,3,5,9.")
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="points, boxes: also Felzenszwalb's segment under the point, or GrabCut."),
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: a setting of the evaluation; may be repeated.")
    ] = None,
    max_masks: Annotated[int | None, typer.Option("--max-masks", min=1, help="A random sample of masks.")] = None,
    min_area: Annotated[int, typer.Option("--min-area", min=1, help="Leave smaller masks out (pixels).")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of the sample.")] = 0,
    mask_frame: MaskFrame = "auto",
    device: DeviceName = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Measure a model against ground truth in COCO format.

    points: from simulated clicks, the first farthest from the mask's boundary, the next in the error region. boxes:
    from the tight box of each mask. masks: from the mask itself. shapes: how clean borders and edges are.
    edges: beside Canny and Sobel, as BSDS500 counts. proposals: recall of masks of everything. instances: from the
    boxes of a detector, --set boxes=RESULTS.json. text: from the labels of masks. groups and suite (many sets and
    models in one run) are commands of their own: sam-engine evaluate suite --help.

    "confident" is the mask with the highest predicted IoU, "oracle" the best of the three that a prompt gets.
    Intervals are 95 % bootstrap intervals of the mean over masks.
    """
    from engine.evaluation.evaluations import Samples, find_evaluation
    from engine.samples import CocoSamples
    from engine.workspace import roots_of
    from model.devices import device_of
    from model.predictor import Predictor
    from model.storage import load_model
    from model.text_prompts import text_prompter

    chosen: dict[str, Any] = {} if clicks is None else {"clicks": clicks}
    chosen |= {"baselines": True} if baselines else {}
    evaluation = find_evaluation(name, parse_settings(settings or []) | chosen)
    sam, info = load_model(model, roots_of(workspace), device=device_of(device))
    samples = CocoSamples(coco, images_root=images, mask_frame=mask_frame)
    for problem in samples.problems:
        note(f"{problem.source}: {problem.reason}")
    sampled = samples.sampled(max_masks=max_masks, min_area_px=min_area, seed=seed)
    with progress_bars() as progress:
        measured = evaluation(
            Predictor(sam, text=text_prompter(info.folder, device=sam.device)), Samples(sampled, progress)
        )
    for line in measured.notes:
        note(line)
    title = f"{info.name} ({info.model_id}), {counted(measured.masks, 'mask')}: {measured.what}"
    result = {"model": info.model_id, "masks": measured.masks, **measured.values}
    emit(result, as_json=as_json, text=None if as_json else _table(title, measured))


def _table(title: str, measured: "Measured") -> Any:
    from rich.table import Table

    table = Table(title=title)
    for column in measured.columns:
        table.add_column(column, justify="right")
    for row in measured.rows:
        table.add_row(*row)
    return table
