"""What the user named for ingest, spelled out: one candidate per picture file, one problem per thing that is none."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from engine.archives import UNREAD_ENDINGS, is_archive, unpack, unpack_inner, without_ending
from engine.coco import CocoDataset, CocoMask, Problem, coco_of
from engine.folders import files_below, is_file
from engine.images import SUFFIXES, UNREAD_SUFFIXES
from engine.labels import coco_results
from engine.labels.crowds import Crowds
from engine.labels.field_names import usual_file
from engine.labels.importers import is_label_file
from engine.labels.mask_folders import read_mask_folders
from engine.labels.other_tools import other_tool
from engine.labels.pictures import PictureFinder
from engine.labels.text import decoded_text, read_label_file
from engine.labels.yolo import read_yolo
from engine.own_output import is_own_overlay, is_own_record
from schemas.counted import counted
from schemas.errors import InputError
from schemas.tables import Split

# Masks by tasks, which only the server knows the pictures of.
_BRUSH_OF_LABEL_STUDIO = re.compile(r"task-\d+-annotation-\d+-by-.*-\d+\.(png|npy)")
_ARRAYS = frozenset(
    {".npy", ".npz", ".mat", ".nii", ".nrrd", ".h5", ".hdf5", ".pkl", ".arrow", ".tfrecord"} | {".parquet", ".datum"}
)
_LABELS = (".json", ".geojson", ".jsonl", ".ndjson", ".csv", ".tsv", ".xml")
_NAMELESS = "a brush mask of Label Studio, which does not tell its picture; export the project as JSON"


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


@dataclass(frozen=True)
class _How:
    """How sources are read: the arguments of `gather` that are the same for all of them."""

    images_root: Path | None
    crowds: Crowds
    labels: bool
    scratch: Path | None

    @property
    def embedded(self) -> Path | None:
        """Folder of the pictures that lie within label files."""
        return None if self.scratch is None else self.scratch / "embedded"


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
    are unpacked and read as folders, and pictures are put that lie within label files; None to read neither. What
    cannot be read becomes a problem; nothing is raised.
    """
    gathered, how = Gathered(), _How(images_root, crowds, labels, scratch)
    for number, source in enumerate(sources):
        path = source.expanduser().absolute()
        if is_archive(path) and path.is_file():
            unpacked = None if scratch is None else scratch / str(number) / without_ending(path)
            _add_archive(path, gathered, unpacked, replace(how, labels=True))
        else:
            _add(path, gathered, how)
    return gathered


def _add_archive(archive: Path, gathered: Gathered, unpacked: Path | None, how: _How) -> None:
    """Read an archive as the folder that it holds, archives in it as its subfolders; messages name places in it."""
    gathered.looked_at.add(str(archive))
    try:
        if unpacked is None:
            raise InputError("archives are not read here; unpack it and name the folder")
        unpacked.mkdir(parents=True)
        unpack(archive, unpacked)
    except InputError as error:
        gathered.problems.append(Problem(str(archive), "file", str(error).removeprefix(f"{archive}: ")))
        return
    inside = Gathered()
    for inner, reason in unpack_inner(unpacked):
        inside.problems.append(Problem(str(inner), "file", reason))
    _add_folder(unpacked, inside, how)

    def named(text: str) -> str:
        return text.replace(str(unpacked), str(archive))

    for candidate in inside.candidates:
        masks = tuple(replace(mask, source=named(mask.source)) for mask in candidate.masks)
        gathered.candidates.append(replace(candidate, masks=masks, packed=named(candidate.source)))
    gathered.problems += [Problem(named(each.source), each.kind, named(each.reason)) for each in inside.problems]
    gathered.notes += [named(note) for note in inside.notes]
    gathered.looked_at |= {named(path) for path in inside.looked_at}
    gathered.ignored += inside.ignored
    gathered.mended += inside.mended


def _add(source: Path, gathered: Gathered, how: _How) -> None:
    gathered.looked_at.add(str(source))
    try:
        if source.is_dir():
            _add_folder(source, gathered, how)
        elif not source.exists():
            raise InputError("no such file or folder; check the spelling")
        elif not source.is_file():
            raise InputError("neither a file nor a folder; a pipe or device is not read")
        elif source.suffix.lower() == ".txt" and not _begins_like_json(source):
            _add_list(source, gathered)
        elif is_own_overlay(source):
            raise InputError("drawn by sam-engine generate, no picture of yours")
        elif _may_hold_labels(source) or (source.suffix.lower() in ("", ".txt") and _begins_like_json(source)):
            mended = Counter[str]()
            content = read_label_file(source, mended)
            _take(_coco_of(content, source, mended, how), gathered)
        elif reason := _archive_problem(source):
            raise InputError(reason)
        else:
            gathered.candidates.append(Candidate(source))
    except InputError as error:
        gathered.problems.append(Problem(str(source), "file", str(error).removeprefix(f"{source}: ")))


def _coco_of(
    content: object, path: Path, mended: Counter[str], how: _How, finder: PictureFinder | None = None
) -> CocoDataset:
    return coco_of(
        content,
        path,
        mended,
        images_root=how.images_root,
        crowds=how.crowds,
        finder=finder,
        scratch=how.embedded,
    )


def _add_folder(folder: Path, gathered: Gathered, how: _How) -> None:
    labels = how.labels
    files, left_out = files_below(folder)
    gathered.problems += [Problem(str(path), "file", reason) for path, reason in left_out]
    finder = PictureFinder(how.images_root or folder, whole_folder=True)
    own = {path for path in files if is_own_overlay(path) or (_may_hold_labels(path) and is_own_record(path))}
    if own:
        gathered.notes.append(
            f"{folder}: {counted(len(own), 'file')} that sam-engine generate wrote "
            f"{'is' if len(own) == 1 else 'are'} left out"
        )
    files = [path for path in files if path not in own]
    nameless = [path for path in files if _BRUSH_OF_LABEL_STUDIO.fullmatch(path.name)]
    gathered.problems += [Problem(str(path), "mask", _NAMELESS) for path in nameless]
    files = [path for path in files if path not in set(nameless)]
    may_hold = [path for path in files if labels and _may_hold_labels(path)]
    read = [_read_if_labels(path, gathered, how, finder) for path in may_hold]
    datasets = [dataset for dataset in read if dataset is not None]
    described = {image.path for dataset in datasets for image in dataset.images}
    yolo = read_yolo(files, folder, described=frozenset(described)) if labels else None
    if yolo is not None:
        whole = PictureFinder(folder, whole_folder=True)
        datasets.append(coco_of(yolo.content, folder, Counter(), crowds=how.crowds, finder=whole))
        gathered.problems += [Problem(str(path), "file", reason) for path, reason in yolo.problems]
        gathered.notes += yolo.notes
    for dataset in datasets:
        _take(dataset, gathered)
    gathered.notes += _told_twice(datasets, folder)
    used = {dataset.path for dataset in datasets}.union(*(dataset.mask_files for dataset in datasets))
    used |= yolo.used if yolo else set()
    described |= {image.path for dataset in datasets for image in dataset.images}
    if labels:
        left = [path for path in files if path not in used]
        with_masks = {image.path for dataset in datasets for image in dataset.images if image.masks}
        used |= _add_mask_folders(left, folder, frozenset(with_masks), described, gathered)
    others = [path for path in files if path not in used]
    pictures = [path for path in others if path.suffix.lower() in SUFFIXES]
    if not pictures and not described:
        gathered.problems.append(
            Problem(str(folder), "file", f"no pictures in this folder; looked for {', '.join(sorted(SUFFIXES))}")
        )
    gathered.candidates += [Candidate(path) for path in pictures if path not in described]
    _name_unread([path for path in others if path.suffix.lower() not in SUFFIXES], gathered, labels)


def _told_twice(datasets: list[CocoDataset], folder: Path) -> list[str]:
    """A line on pictures that have masks in several label files, if there are any."""
    files: dict[Path, set[str]] = defaultdict(set)
    for dataset in datasets:
        for image in dataset.images:
            if image.masks:
                files[image.path].add(dataset.path.name)
    several = [names for names in files.values() if len(names) > 1]
    if not several:
        return []
    names = ", ".join(sorted(set().union(*several))[:4])
    return [
        f"{folder}: {counted(len(several), 'picture')} "
        f"{'has' if len(several) == 1 else 'have'} masks in several label files ({names}), and all are taken; "
        "name one of these files where they show the same objects"
    ]


def _add_mask_folders(
    files: list[Path], folder: Path, with_masks: frozenset[Path], described: set[Path], gathered: Gathered
) -> set[Path]:
    """Take masks that lie as PNG files beside the pictures; returns these files. described: grows by their pictures."""
    found = read_mask_folders(files, folder, described=with_masks)
    gathered.problems += [Problem(str(path), "mask", reason) for path, reason in found.problems]
    if found.content["annotations"]:
        whole = PictureFinder(folder, whole_folder=True)
        dataset = coco_of(found.content, folder, Counter(), finder=whole)
        dataset.images[:] = [image for image in dataset.images if image.masks]
        _take(dataset, gathered)
        described |= {image.path for image in dataset.images}
    gathered.notes += found.notes
    if found.mask_files:
        gathered.notes.append(
            f"{folder}: {counted(len(found.mask_files), 'file')} taken for masks of the pictures beside them"
        )
    return found.mask_files


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
        elif labels and _may_hold_labels(path):
            reason = "no label file of a form that is read; see docs/ingest.md"
            gathered.problems.append(Problem(str(path), "file", reason))
        elif ending in _ARRAYS:
            reason = f"files of the kind {ending} are not read; save masks as PNG"
            gathered.problems.append(Problem(str(path), "file", reason))
        elif labels and ending in ("", ".txt") and _begins_like_json(path):
            reason = "JSON under another ending; rename it to .json"
            gathered.problems.append(Problem(str(path), "file", reason))
        elif reason := _archive_problem(path):
            gathered.problems.append(Problem(str(path), "file", reason))
        else:
            gathered.ignored[ending or "without an ending"] += 1


def _begins_like_json(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
    except OSError:  # whoever reads it says so
        return False


def _archive_problem(path: Path) -> str:
    """Why an archive within a folder is not read; "" for any other file."""
    if is_archive(path):
        return "an archive in a folder is not unpacked; name it itself"
    if path.suffix.lower() in UNREAD_ENDINGS:
        return "an archive of a kind that is not read; unpack it and name the folder"
    return ""


def _may_hold_labels(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(_LABELS)


def _read_if_labels(path: Path, gathered: Gathered, how: _How, finder: PictureFinder) -> CocoDataset | None:
    """What a file in a folder holds, if it is a label file; one that cannot be read becomes a problem."""
    gathered.looked_at.add(str(path))
    try:
        mended = Counter[str]()
        content = read_label_file(path, mended)
        if coco_results.IMPORTER.recognises(content):
            raise InputError("results of a model, which a folder may hold beside its masks; name the file itself")
        if is_label_file(content) or is_label_file(usual_file(content, Counter())):
            return _coco_of(content, path, mended, how, finder)
        if other := other_tool(content):
            raise InputError(other)
    except InputError as error:
        gathered.problems.append(Problem(str(path), "file", str(error).removeprefix(f"{path}: ")))
    return None


def _add_list(source: Path, gathered: Gathered) -> None:
    try:
        text = decoded_text(source.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read this as a list of paths, one a line: {error}") from error
    if "\0" in text:
        raise InputError("cannot read this as a list of paths, one a line: it is no text")
    stripped = [_without_quotes(line.strip()) for line in text.splitlines() if not line.lstrip().startswith("#")]
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
    gathered.candidates += [Candidate(i.path.absolute(), tuple(i.masks), i.split, i.packed) for i in dataset.images]
