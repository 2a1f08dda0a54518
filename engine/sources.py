"""What the user named for ingest, spelled out: one candidate per picture file, one problem per thing that is none."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from engine.archives import is_archive, unpack
from engine.coco import CocoDataset, CocoMask, Problem, coco_of, read_coco
from engine.folders import files_below, is_file
from engine.images import SUFFIXES, UNREAD_SUFFIXES
from engine.labels.crowds import Crowds
from engine.labels.importers import is_label_file
from engine.labels.pictures import PictureFinder
from engine.labels.text import read_label_file
from engine.labels.yolo import read_yolo
from engine.own_output import is_own_overlay, is_own_record
from schemas.errors import InputError
from schemas.tables import Split


@dataclass(frozen=True)
class Candidate:
    """A file that should be a picture, with the masks and the split that a COCO file gives it.

    packed: its place in the archive from which it was unpacked, "" for a file of its own.
    """

    path: Path
    masks: tuple[CocoMask, ...] = ()
    split: Split | None = None
    packed: str = ""

    @property
    def source(self) -> str:
        """What to call it: its path, or where it lies in an archive."""
        return self.packed or str(self.path)


@dataclass
class Gathered:
    """Candidates in the order in which they were named; `ignored` counts files that are no pictures, by ending.

    `looked_at` holds every file and folder that this names anew, so that what was rejected before can be forgotten.
    """

    candidates: list[Candidate] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    looked_at: set[str] = field(default_factory=set)
    mended: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def gather(
    sources: Iterable[Path],
    *,
    images_root: Path | None = None,
    crowds: Crowds = "auto",
    labels: bool = True,
    scratch: Path | None = None,
) -> Gathered:
    """Spell out files, folders (recursively, sorted by name), .txt lists (one path a line) and label files.

    images_root, crowds: as in `engine.coco.read_coco`. labels: the label files in a folder are read too, with pictures
    from anywhere in that folder. Paths in a list are relative to the list. scratch: an empty folder, in which archives
    are unpacked and read as folders; None to read none. What cannot be read becomes a problem; nothing is raised.
    """
    gathered = Gathered()
    for number, source in enumerate(sources):
        path = source.expanduser().absolute()
        if is_archive(path) and path.is_file():
            unpacked = None if scratch is None else scratch / str(number)
            _add_archive(path, gathered, unpacked, images_root, crowds)
        else:
            _add(path, gathered, images_root, crowds, labels)
    return gathered


def _add_archive(
    archive: Path, gathered: Gathered, unpacked: Path | None, images_root: Path | None, crowds: Crowds
) -> None:
    """Read an archive as the folder that it holds; messages name places in the archive."""
    gathered.looked_at.add(str(archive))
    try:
        if unpacked is None:
            raise InputError("archives are not read here; unpack it and name the folder")
        unpacked.mkdir()
        unpack(archive, unpacked)
    except InputError as error:
        gathered.problems.append(Problem(str(archive), "file", str(error).removeprefix(f"{archive}: ")))
        return
    inside = Gathered()
    _add_folder(unpacked, inside, images_root, crowds, True)

    def named(text: str) -> str:
        return text.replace(str(unpacked), str(archive))

    for candidate in inside.candidates:
        masks = tuple(replace(mask, source=named(mask.source)) for mask in candidate.masks)
        gathered.candidates.append(replace(candidate, masks=masks, packed=named(str(candidate.path))))
    gathered.problems += [Problem(named(each.source), each.kind, named(each.reason)) for each in inside.problems]
    gathered.notes += [named(note) for note in inside.notes]
    gathered.looked_at |= {named(path) for path in inside.looked_at}
    gathered.ignored += inside.ignored
    gathered.mended += inside.mended


def _add(source: Path, gathered: Gathered, images_root: Path | None, crowds: Crowds, labels: bool) -> None:
    gathered.looked_at.add(str(source))
    try:
        if source.is_dir():
            _add_folder(source, gathered, images_root, crowds, labels)
        elif not source.exists():
            raise InputError("no such file or folder; check the spelling")
        elif not source.is_file():
            raise InputError("neither a file nor a folder; a pipe or device is not read")
        elif source.suffix.lower() == ".txt":
            _add_list(source, gathered)
        elif is_own_overlay(source):
            raise InputError("drawn by sam-engine generate, no picture of yours")
        elif _may_hold_labels(source):
            _take(read_coco(source, images_root=images_root, crowds=crowds), gathered)
        else:
            gathered.candidates.append(Candidate(source))
    except InputError as error:
        gathered.problems.append(Problem(str(source), "file", str(error).removeprefix(f"{source}: ")))


def _add_folder(folder: Path, gathered: Gathered, images_root: Path | None, crowds: Crowds, labels: bool) -> None:
    files, left_out = files_below(folder)
    gathered.problems += [Problem(str(path), "file", reason) for path, reason in left_out]
    finder = PictureFinder(images_root or folder, whole_folder=True)
    own = {path for path in files if is_own_overlay(path) or (_may_hold_labels(path) and is_own_record(path))}
    if own:
        gathered.notes.append(f"{folder}: {len(own)} files that sam-engine generate wrote are left out")
    files = [path for path in files if path not in own]
    may_hold = [path for path in files if labels and _may_hold_labels(path)]
    read = [_read_if_labels(path, gathered, images_root, crowds, finder) for path in may_hold]
    datasets = [dataset for dataset in read if dataset is not None]
    described = {image.path for dataset in datasets for image in dataset.images}
    yolo = read_yolo([path for path in files if path not in described], folder) if labels else None
    if yolo is not None:
        whole = PictureFinder(folder, whole_folder=True)
        datasets.append(coco_of(yolo[0], folder, Counter(), crowds=crowds, finder=whole))
    for dataset in datasets:
        _take(dataset, gathered)
    used = {dataset.path for dataset in datasets}.union(*(dataset.mask_files for dataset in datasets))
    used |= yolo[1] if yolo else set()
    described |= {image.path for dataset in datasets for image in dataset.images}
    others = [path for path in files if path not in used]
    pictures = [path for path in others if path.suffix.lower() in SUFFIXES]
    if not pictures and not described:
        gathered.problems.append(
            Problem(str(folder), "file", f"no pictures in this folder; looked for {', '.join(sorted(SUFFIXES))}")
        )
    gathered.candidates += [Candidate(path) for path in pictures if path not in described]
    _name_unread([path for path in others if path.suffix.lower() not in SUFFIXES], gathered, labels)


def _name_unread(files: list[Path], gathered: Gathered, labels: bool) -> None:
    """What may hold pictures or labels of kinds that are not read becomes a problem; anything else is counted."""
    told = {Path(problem.source) for problem in gathered.problems}
    for path in files:
        ending = path.suffix.lower()
        gathered.looked_at.add(str(path))
        if ending in UNREAD_SUFFIXES:
            reason = f"pictures of the kind {ending} are not read; save it as JPEG, PNG or TIFF"
            gathered.problems.append(Problem(str(path), "image", reason))
        elif path in told:
            continue
        elif labels and (_may_hold_labels(path) or ending == ".xml"):
            reason = "no label file of a form that is read; see docs/ingest.md"
            gathered.problems.append(Problem(str(path), "file", reason))
        elif is_archive(path):
            reason = "an archive in a folder is not unpacked; name it itself"
            gathered.problems.append(Problem(str(path), "file", reason))
        else:
            gathered.ignored[ending or "without an ending"] += 1


def _may_hold_labels(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith((".json", ".jsonl", ".csv"))


def _read_if_labels(
    path: Path, gathered: Gathered, images_root: Path | None, crowds: Crowds, finder: PictureFinder
) -> CocoDataset | None:
    """What a file in a folder holds, if it is a label file; one that cannot be read becomes a problem."""
    gathered.looked_at.add(str(path))
    try:
        mended = Counter[str]()
        content = read_label_file(path, mended)
        if is_label_file(content):
            return coco_of(content, path, mended, images_root=images_root, crowds=crowds, finder=finder)
    except InputError as error:
        gathered.problems.append(Problem(str(path), "file", str(error).removeprefix(f"{path}: ")))
    return None


def _add_list(source: Path, gathered: Gathered) -> None:
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read this as a list of paths, one a line in UTF-8: {error}") from error
    stripped = [_without_quotes(line.strip()) for line in lines if not line.lstrip().startswith("#")]
    named = [line for line in stripped if line]
    if not named:
        raise InputError("the list names no file; write one path a line")
    for name in named:
        path = _listed(source.parent, name)
        gathered.looked_at.add(str(path))
        if is_file(path):
            gathered.candidates.append(Candidate(path))
        else:
            gathered.problems.append(Problem(str(path), "image", f"no such file, but {source} names it"))


def _without_quotes(line: str) -> str:
    return line[1:-1].strip() if len(line) > 1 and line[0] == line[-1] and line[0] in "'\"" else line


def _listed(folder: Path, name: str) -> Path:
    """As it stands where that is a file; with the separators of Windows and an address of a file read otherwise."""
    path = folder / Path(name).expanduser()
    if not is_file(path) and (name.startswith("file://") or "\\" in name):
        other = folder / unquote(name.removeprefix("file://")).replace("\\", "/")
        return other if is_file(other) else path
    return path


def page_problem(path: Path | str, pages: int) -> list[Problem]:
    """What becomes of the pages or frames of a picture's file after the first: one problem, none where it has one."""
    if pages < 2:
        return []
    source = f"{path}: page 2" if pages == 2 else f"{path}: pages 2 to {pages}"
    return [Problem(source, "image", "only the first page or frame is taken; save the others as files of their own")]


def _take(dataset: CocoDataset, gathered: Gathered) -> None:
    gathered.looked_at.add(str(dataset.path))
    gathered.problems += dataset.problems
    gathered.mended += dataset.mended
    gathered.notes += dataset.notes
    gathered.candidates += [Candidate(i.path.absolute(), tuple(i.masks), i.split) for i in dataset.images]
