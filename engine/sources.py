"""What the user named for ingest, spelled out: one candidate per picture file, one problem per thing that is none."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.coco import CocoMask, Problem, read_coco
from engine.images import SUFFIXES
from schemas.errors import InputError
from schemas.tables import Split


@dataclass(frozen=True)
class Candidate:
    """A file that should be a picture, with the masks and the split that a COCO file gives it."""

    path: Path
    masks: tuple[CocoMask, ...] = ()
    split: Split | None = None


@dataclass
class Gathered:
    """Candidates in the order in which they were named; `ignored` counts files in folders that are no pictures.

    `looked_at` holds every file and folder that this names anew, so that what was rejected before can be forgotten.
    """

    candidates: list[Candidate] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: int = 0
    looked_at: set[str] = field(default_factory=set)


def gather(sources: Iterable[Path], *, images_root: Path | None = None) -> Gathered:
    """Spell out files, folders (recursively, sorted by name), .txt lists (one path a line) and COCO .json files.

    Paths in a list are relative to the list. What cannot be read becomes a problem; nothing is raised for it.
    """
    gathered = Gathered()
    for source in sources:
        _add(source.expanduser().absolute(), gathered, images_root)
    return gathered


def _add(source: Path, gathered: Gathered, images_root: Path | None) -> None:
    gathered.looked_at.add(str(source))
    try:
        if source.is_dir():
            _add_folder(source, gathered)
        elif not source.exists():
            raise InputError("no such file or folder; check the spelling")
        elif source.suffix.lower() == ".txt":
            _add_list(source, gathered)
        elif source.suffix.lower() == ".json":
            _add_coco(source, gathered, images_root)
        else:
            gathered.candidates.append(Candidate(source))
    except InputError as error:
        gathered.problems.append(Problem(str(source), "file", str(error).removeprefix(f"{source}: ")))


def _add_folder(folder: Path, gathered: Gathered) -> None:
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder))
    except OSError as error:
        raise InputError(f"cannot list the folder: {error.strerror}") from error
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not pictures:
        raise InputError(f"no pictures in this folder; looked for {', '.join(sorted(SUFFIXES))}")
    gathered.candidates += [Candidate(path) for path in pictures]
    gathered.ignored += len(files) - len(pictures)


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _add_list(source: Path, gathered: Gathered) -> None:
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read this as a list of paths, one a line in UTF-8: {error}") from error
    named = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not named:
        raise InputError("the list names no file; write one path a line")
    for name in named:
        path = source.parent / Path(name).expanduser()
        gathered.looked_at.add(str(path))
        if path.is_file():
            gathered.candidates.append(Candidate(path))
        else:
            gathered.problems.append(Problem(str(path), "image", f"no such file, but {source} names it"))


def _add_coco(source: Path, gathered: Gathered, images_root: Path | None) -> None:
    dataset = read_coco(source, images_root=images_root)
    gathered.problems += dataset.problems
    gathered.candidates += [Candidate(i.path.absolute(), tuple(i.masks), i.split) for i in dataset.images]
