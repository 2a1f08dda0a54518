"""`sam-engine study`: people rate masks of several models or datasets without knowing whose they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.console import JsonFlag, emit, progress_bars
from flows.settings import named_files
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.progress import Progress
    from engine.study.folder import StudyFolder
    from engine.study.project import StudyProject, StudyState

app = typer.Typer(
    no_args_is_help=True,
    help="Have people rate masks of several sources from 1 to 10, blind (SAM paper, appendix G), in Label Studio.",
)

Workspace = Annotated[str, typer.Argument(help="The workspace, with its Label Studio.")]
Name = Annotated[str, typer.Option("--name", help="Of the study; a workspace may have several.")]


@app.command()
def publish(
    workspace: Workspace,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="NAME=FILE: COCO json, COCO results or the folder of a release; repeat it."),
    ] = None,
    name: Name = "study",
    images: Annotated[Path | None, typer.Option("--images", help="Folder of the pictures of COCO files.")] = None,
    coco: Annotated[Path | None, typer.Option("--coco", help="COCO json whose image ids results refer to.")] = None,
    pairs: Annotated[
        Literal["pictures", "objects"],
        typer.Option("--pairs", help="objects: annotations of one id are masks of the same object in all sources."),
    ] = "pictures",
    masks: Annotated[int, typer.Option("--masks", min=1, help="Of each source, drawn at random.")] = 1000,
    min_side: Annotated[int, typer.Option("--min-side", min=1, help="Leave out masks of fewer pixels across.")] = 24,
    people: Annotated[int, typer.Option("--people", min=1, help="How many rate each mask.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Draw and order follow from it.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Draw masks, and send them to a project of their own: each in five views, in an order that tells nothing.

    What is rated stays settled: without --source the study goes on, and tasks that are missing are sent.
    """
    from engine.study.project import draw_study

    folder, files = _folder(workspace, name), named_files("--source", source or [], example="nano=nano.json")
    with progress_bars() as progress:
        if files:
            draw_study(
                folder,
                files,
                images=images,
                coco=coco,
                pairs=pairs,
                masks=masks,
                shortest_px=min_side,
                people=people,
                seed=seed,
                progress=progress,
            )
        state = _project(workspace, folder, progress).publish()
    emit(state.to_dict(), as_json=as_json, text=f"{counted(state.published, 'mask')} published; {state}")


@app.command()
def collect(workspace: Workspace, name: Name = "study", as_json: JsonFlag = False) -> None:
    """Read what people rated so far; the same again changes nothing."""
    folder = _folder(workspace, name)
    with progress_bars() as progress:
        state: StudyState = _project(workspace, folder, progress).collect()
    emit(state.to_dict(), as_json=as_json, text=str(state))


@app.command()
def analyse(workspace: Workspace, name: Name = "study", as_json: JsonFlag = False) -> None:
    """Mean ratings with 95 % intervals, paired differences and their distribution, of what was collected so far.

    WORK/reports gets study-NAME.md, .json and .png.
    """
    from engine.figures import drawn
    from engine.json_files import write_json
    from engine.store import Store
    from engine.study.analysis import analyse as analysed
    from engine.study.analysis import study_markdown
    from engine.study.figure import ratings_figure

    folder = _folder(workspace, name)
    found = analysed(folder.study(), folder.ratings())
    reports = Store(workspace).files.reports
    page, values = study_markdown(found), found.to_dict()
    (reports / f"study-{name}.png").write(drawn(ratings_figure(found)))
    write_json(reports / f"study-{name}.json", values)
    (reports / f"study-{name}.md").write(page.encode())
    emit(values, as_json=as_json, text=f"{page}\nWritten to {reports / f'study-{name}.md'}")


def _folder(workspace: str, name: str) -> "StudyFolder":
    from engine.store import Store
    from engine.study.folder import StudyFolder

    return StudyFolder(Store(workspace).files, name)


def _project(workspace: str, folder: "StudyFolder", progress: "Progress") -> "StudyProject":
    from engine.store import Store
    from engine.study.project import StudyProject

    return StudyProject(Store(workspace), folder, folder.study(), progress)
