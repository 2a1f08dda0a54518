"""`sam-engine release`: dataset releases in the form of SA-1B."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.explore import explore
from flows.console import JsonFlag, emit, note, progress_bars
from flows.settings import named_files, with_settings
from schemas.counted import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.release.report.released import ReleasedMasks
    from engine.release.report.sections import Section
    from engine.workspace import Workspace
    from schemas.config import CardConfig

ProcessesOption = Annotated[
    int | None, typer.Option("--processes", min=1, help="Tars to work on side by side; default: one a core.")
]

app = typer.Typer(no_args_is_help=True, help="Dataset releases: build, verify, export and describe them.")
app.command()(explore)


@app.command()
def build(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    stage: Annotated[
        list[str] | None, typer.Option(help="Stage whose masks to release, may be repeated; default: fully_automatic.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the release; default: made from its inputs.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE instead of what engine.yaml has under release, as masks.min_area_frac=0.001; repeatable.",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything again; a release with a problem does not appear.")
    ] = False,
    withheld: Annotated[
        bool,
        typer.Option("--withheld", help="The pictures that release.withheld_frac keeps out of all other releases."),
    ] = False,
    no_blur: Annotated[
        bool, typer.Option("--no-blur", help="Release faces and licence plates as they are; the release says so.")
    ] = False,
    processes: ProcessesOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write pictures and masks as tars of jpg and SA-1B json, with a Parquet index and checksums.

    Faces and licence plates are blurred; `sam-engine release preview` shows what is found.
    """
    from engine.places import full_name
    from engine.processes import Processes
    from engine.release.build import build_release
    from engine.store import Store
    from stages.approvals import RELEASED, of_release, require
    from stages.planning import parse_stage

    stages = [parse_stage(one) for one in stage or RELEASED]
    store = Store(workspace)
    require(store.files, of_release(store, store.files.settings(), stages))
    config = with_settings(store.files.settings().release, settings or [])
    if no_blur:
        config = config.model_copy(update={"blur": False})
    with progress_bars() as progress:
        info = build_release(
            store,
            config=config,
            stages=stages,
            name=name,
            withheld=withheld,
            verify=verify,
            map_tars=Processes.a_core_each(processes),
            progress=progress,
        )
    manifest = info.manifest
    result = {
        "path": full_name(info.place),
        "created": info.created,
        "images": manifest.images,
        "masks": manifest.masks,
        "images_without_masks": manifest.images_without_masks,
        "tars": len(manifest.tars),
        "blurred": list(manifest.blur_versions),
    }
    text = (
        f"{info.place}: {counted(manifest.masks, 'mask')} on "
        f"{counted(manifest.images, 'image')} in {counted(len(manifest.tars), 'tar')}"
    )
    emit(result, as_json=as_json, text=text if info.created else f"{text}; it was there already")


@app.command()
def preview(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JPEG to write.")] = Path("blurred.jpg"),
    pictures: Annotated[int, typer.Option(min=1, help="Pictures on the sheet.")] = 40,
    seed: Annotated[int, typer.Option(help="Which pictures: another seed draws others.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write a sheet of pictures with the faces and licence plates that a release would blur."""
    from engine.places import place
    from engine.release.preview import write_preview
    from engine.store import Store

    with progress_bars() as progress:
        made = write_preview(Store(workspace), place(output), pictures=pictures, seed=seed, progress=progress)
    result = {"path": output.resolve(), "pictures": made.pictures, "found": made.regions}
    found = ", ".join(f"{count} {name}" for name, count in made.regions.items())
    emit(result, as_json=as_json, text=f"{output}: {counted(made.pictures, 'picture')}, on them {found}")


@app.command()
def verify(
    release: Annotated[str, typer.Argument(help="Folder of a release.")],
    quick: Annotated[bool, typer.Option("--quick", help="Only which files there are, and their sizes.")] = False,
    processes: ProcessesOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every file, picture and mask of a release against its manifest and index."""
    from engine.places import full_name, place
    from engine.processes import Processes
    from engine.release.reader import read_manifest
    from engine.release.verify import verify_release

    read_manifest(release)
    map_tars = Processes(1) if quick else Processes.a_core_each(processes)
    with progress_bars() as progress:
        problems = verify_release(release, quick=quick, map_tars=map_tars, progress=progress)
    for problem in problems:
        note(problem)
    text = f"{release}: {counted(len(problems), 'problem')}" if problems else f"{release}: whole"
    emit({"path": full_name(place(release)), "problems": problems}, as_json=as_json, text=text)
    if problems:
        raise typer.Exit(1)


@app.command()
def repair(
    release: Annotated[str, typer.Argument(help="Folder of a release.")],
    workspace: Annotated[str, typer.Argument(help="The workspace that it was built from.")],
    processes: ProcessesOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make damaged and missing files of a release again, byte for byte, or say which cannot be."""
    from engine.places import full_name, place
    from engine.processes import Processes
    from engine.release.repair import repair_release
    from engine.store import Store

    map_tars = Processes.a_core_each(processes)
    with progress_bars() as progress:
        mended, left = repair_release(place(release), Store(workspace), map_tars=map_tars, progress=progress)
    for line in left:
        note(line)
    text = (
        f"{release}: {counted(len(mended), 'file')} mended, {len(left)} left" if mended or left else f"{release}: whole"
    )
    emit({"path": full_name(place(release)), "mended": mended, "left": left}, as_json=as_json, text=text)
    if left:
        raise typer.Exit(1)


@app.command()
def subset(
    release: Annotated[str, typer.Argument(help="Folder of a release.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the part.")],
    images: Annotated[int | None, typer.Option(help="How many pictures.")] = None,
    share: Annotated[float | None, typer.Option(help="Or which share of them: 0.01 is one in a hundred.")] = None,
    seed: Annotated[int, typer.Option(help="Which pictures; of one seed, a smaller part lies in a larger.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write some pictures of a release, drawn at random, with their masks as a release of its own."""
    from engine.release.subset import subset_release

    with progress_bars() as progress:
        made = subset_release(release, output, images=images, share=share, seed=seed, progress=progress)
    result = {"path": output.resolve(), "images": made.images, "masks": made.masks, "parents": list(made.parents)}
    emit(result, as_json=as_json, text=f"{output}: {counted(made.masks, 'mask')} on {counted(made.images, 'image')}")


@app.command()
def merge(
    releases: Annotated[list[str], typer.Argument(help="Folders of releases; the first keeps its numbers.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the result.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of release.card for the result, as license=cc-by-4.0; repeatable."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write releases of several workspaces as one; pictures that several have are taken once, with the masks of all."""
    from engine.release.merge import merge_releases

    def changed(card: "CardConfig") -> "CardConfig":
        return with_settings(card, settings or [])

    with progress_bars() as progress:
        made = merge_releases(releases, output, change_card=changed, progress=progress)
    known = sum(source.images_known for source in made.merged)
    left_out = sum(source.masks_left_out for source in made.merged)
    result = {
        "path": output.resolve(),
        "images": made.images,
        "masks": made.masks,
        "parents": list(made.parents),
        "images_known": known,
        "masks_left_out": left_out,
    }
    text = (
        f"{output}: {counted(made.masks, 'mask')} on {counted(made.images, 'image')} of "
        f"{counted(len(releases), 'release')}"
    )
    text += f"; {known} were in several" if known else ""
    text += f"; {counted(left_out, 'mask')} of other sizes left out" if left_out else ""
    emit(result, as_json=as_json, text=text)


@app.command()
def export(
    release: Annotated[str, typer.Argument(help="Folder of a release.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the result.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            "--to",
            help="coco, lvis, yolo, png, labelstudio, parquet-images, or one that an installed package adds.",
        ),
    ] = "coco",
    as_json: JsonFlag = False,
) -> None:
    """Write a release in another form, for tools that do not read SA-1B's."""
    from engine.release.exporters import export_release

    with progress_bars() as progress:
        exported = export_release(release, output, form=form, progress=progress)
    images, masks = exported.manifest.images, exported.manifest.masks
    result = {"path": output.resolve(), "format": form, "images": images, "masks": masks}
    emit(result, as_json=as_json, text=f"{output}: {counted(masks, 'mask')} on {counted(images, 'image')} as {form}")


@app.command()
def report(
    release: Annotated[str, typer.Argument(help="Folder of a release.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="Folder to write to; default: reports/NAME of its workspace, else NAME-report here."
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE: a dataset in COCO format to set beside the release; may be repeated."),
    ] = None,
    geography: Annotated[
        Path | None,
        typer.Option(help="CSV with source, image_id or content_id, and country or caption: where pictures come from."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV with mask_id or id and columns of labels: how good a model is on each group of masks."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="For --groups: name or id of a model, or folder.")
    ] = "nano",
    workspace: Annotated[
        str | None, typer.Option("--workspace", help="What it was built of; default: where the release lies.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="For --groups: auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Write a page on what the masks are like: where they lie, how many, how large, how concave, how they were made.

    The analyses of the SAM paper (section 5, figures 5 and 6), beside the datasets that are named; report.html needs no
    other file. The numbers are in report.json, the plots in plots/ as PNG and PDF.
    """
    from engine.places import full_name
    from engine.release.report.writing import report_folder, write_release_report
    from engine.store import Store
    from engine.workspace import workspace_of_release

    references = named_files("--reference", reference or [], example="COCO=instances_val2017.json")
    built_of = workspace or workspace_of_release(release)
    store = None if built_of is None else Store(built_of)
    more = [] if geography is None else [_geography(geography)]
    more += [] if groups is None else [_fairness(groups, model, built_of, device)]
    folder = output or report_folder(release)
    with progress_bars() as progress:
        files = write_release_report(release, folder, references=references, store=store, more=more, progress=progress)
    images, masks = files.values["images"], files.values["masks"]
    result = {"path": full_name(files.page), "images": images, "masks": masks}
    emit(result, as_json=as_json, text=f"{files.page}: {counted(masks, 'mask')} on {counted(images, 'image')}")


def _geography(table: Path) -> "Callable[[ReleasedMasks], Section]":
    from engine.release.report.geography import geography_section, read_countries
    from engine.release.report.world import World

    world = World()
    return partial(geography_section, table=read_countries(table, world), world=world)


def _fairness(
    groups: Path, model: str, workspace: "str | Workspace | None", device: str
) -> "Callable[[ReleasedMasks], Section]":
    from engine.release.report.fairness import fairness_section, read_groups
    from engine.workspace import roots_of
    from model.devices import device_of
    from model.predictor import Predictor
    from model.storage import load_model

    table = read_groups(groups)
    sam, info = load_model(model, roots_of(workspace), device=device_of(device))
    return partial(fairness_section, groups=table, predictor=Predictor(sam), model=f"{info.name} ({info.model_id})")
