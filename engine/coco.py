"""Reading COCO instance files: images with their masks, each annotation checked on its own.

One broken annotation or missing picture does not lose the file: it becomes a Problem with one clear line. Beside COCO's
own fields these are read: `split` ("train" or "holdout") of an image; `label` and `annotator` of an annotation.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pycocotools import mask as coco_mask

from engine.images import upright_size
from engine.labels.aliases import Aliases
from engine.labels.box_check import BoxCheck
from engine.labels.crowds import CrowdFlags, Crowds, are_of_supervision, is_flagged
from engine.labels.embedded import picture_in, put_picture
from engine.labels.field_names import name_of, usual_file, usual_image, usual_record
from engine.labels.importers import to_coco
from engine.labels.other_tools import other_tool
from engine.labels.outlines import filled
from engine.labels.pictures import PictureFinder
from engine.labels.repairs import mask_of, whole
from engine.labels.streamed import StreamedAnnotations
from engine.labels.text import printable, read_label_file
from schemas.errors import InputError
from schemas.rle import Rle
from schemas.tables import Split

_WITHIN = "the label file holds it, which ingest takes into a workspace that copies pictures (images.copy_images)"
_SPLITS: dict[Any, Split] = {"val": "holdout", "valid": "holdout", "validation": "holdout"}


class Problem(NamedTuple):
    """Something that could not be taken: where it stands, what kind of thing it is, and why."""

    source: str
    kind: Literal["image", "mask", "file"]
    reason: str


@dataclass(frozen=True)
class CocoMask:
    """A mask of an image. `source` names it in messages; `annotator` is "" where the file does not tell.

    category_id and frequency are those of its category: None where it has none, "" where the file is not LVIS's.
    annotation_id: its own in the file, None where it has none that can be used.
    """

    rle: Rle
    label: str
    iscrowd: bool
    annotator: str
    source: str
    category_id: int | str | None = None
    frequency: str = ""
    annotation_id: int | str | None = None


class _Category(NamedTuple):
    name: str = ""
    frequency: str = ""


@dataclass
class CocoImage:
    """An image whose file exists, of the size that the COCO file claims, with its good masks.

    bad_masks: how many others it had. packed: what to call the picture where it was in the label file, else "".
    """

    coco_id: int | str
    path: Path
    height: int
    width: int
    split: Split | None
    masks: list[CocoMask] = field(default_factory=list)
    bad_masks: int = 0
    packed: str = ""


@dataclass(frozen=True)
class CocoDataset:
    """What a COCO file holds: `images` in the order of the file, and what was left out."""

    path: Path
    images: list[CocoImage]
    problems: list[Problem]
    mended: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    mask_files: frozenset[Path] = frozenset()


def read_coco(
    path: Path, *, images_root: Path | None = None, crowds: Crowds = "auto", finder: PictureFinder | None = None
) -> CocoDataset:
    """Read and check a COCO instance file, or one that an importer turns into that.

    Pictures are looked up in `images_root`, else beside the file.
    Masks have the size that the file claims for the image; compare it with the decoded (upright) picture.
    crowds: what `iscrowd` means, see `engine.labels.crowds.CrowdFlags`. finder: of the folder that the file belongs to.
    What was repaired is counted by name in `mended`, what was assumed is said in `notes`.
    Raises InputError if the file is missing, no JSON, or lacks the lists `images` and `annotations`.
    """
    mended: Counter[str] = Counter()
    return coco_of(read_label_file(path, mended), path, mended, images_root=images_root, crowds=crowds, finder=finder)


def coco_of(
    content: Any,
    path: Path,
    mended: Counter[str],
    *,
    images_root: Path | None = None,
    crowds: Crowds = "auto",
    finder: PictureFinder | None = None,
    scratch: Path | None = None,
) -> CocoDataset:
    """As `read_coco`, of a file whose content was read, where `mended` was repaired.

    scratch: a folder for pictures that lie within label files and nowhere else; None to take none.
    """
    imported = to_coco(content, path)
    is_imported = imported.content is not content
    content = _content(imported.content, path, mended)
    dataset = CocoDataset(path, [], [], mended, mask_files=imported.mask_files)
    finder = finder or PictureFinder(path.parent if images_root is None else images_root)
    beside = finder.root if images_root else path.parent
    images, bad = _read_images(
        content["images"], finder, dataset, beside, imported.embedded, scratch, by_stem=is_imported
    )
    of_pixels = are_of_supervision(content["images"])
    categories, flags = _categories(content.get("categories", [])), CrowdFlags()
    left_out: Counter[int] = Counter()
    aliases, boxes = Aliases(content["images"]), BoxCheck()
    for number, record in enumerate(_annotations(content, path)):
        record = usual_record(usual_record(record, "image_id", mended), "segmentation", mended)
        flags.add(record)
        source, image_id = f"{path}: annotation {_id_of(record, number)}", _id_at(record, "image_id")
        if image_id is not None and image_id not in images and image_id not in bad:
            image_id = aliases.meant(image_id, mended)
        try:
            if image_id not in images and image_id in bad:
                left_out[bad[image_id]] += 1
                continue
            _check_object(record)
            image = _image_of(image_id, images)
            if of_pixels:
                record = _filled(record, image, mended)
            image.masks.append(_read_mask(record, image, categories, source, mended))
            boxes.add(record, image.masks[-1].rle)
        except InputError as error:
            dataset.problems.append(Problem(printable(source), "mask", printable(str(error))))
            if image_id in images and record.get("segmentation"):
                images[image_id].bad_masks += 1
    for place, count in left_out.items():
        problem = dataset.problems[place]
        dataset.problems[place] = problem._replace(reason=f"{problem.reason} (its masks are left out with it: {count})")
    are_crowds, note = flags.believed(content["images"], crowds)
    dataset.notes.extend(f"{path}: {each}" for each in (note, boxes.note()) if each)
    if not are_crowds:
        for image in dataset.images:
            image.masks = [replace(mask, iscrowd=False) if mask.iscrowd else mask for mask in image.masks]
    return dataset


def _annotations(content: dict[str, Any], path: Path) -> Iterator[Any]:
    try:
        yield from content["annotations"]
    except (ValueError, OSError, EOFError) as error:  # of a file that is read piece by piece, far into it
        raise InputError(f"{path}: not valid JSON: {' '.join(str(error).split())}") from error


def _read_images(
    records: list[Any],
    finder: PictureFinder,
    dataset: CocoDataset,
    beside: Path,
    embedded: Mapping[str, str],
    scratch: Path | None,
    *,
    by_stem: bool,
) -> tuple[dict[int | str, CocoImage], dict[Any, int]]:
    """Images by id; and of bad ones, whose annotations are not listed one by one, the place of their problem.

    by_stem: the picture of a file with one image may have the file's own name.
    """
    images: dict[int | str, CocoImage] = {}
    bad: dict[Any, int] = {}
    names = [name for record in records if isinstance(record, dict) and (name := name_of(record))]
    paths = _find(names, finder, dataset, beside)
    alone = names[0] if by_stem and len(names) == len(records) == 1 and names[0] not in embedded else None
    if alone is not None and isinstance(paths[alone], InputError):
        _take_by_stem(alone, paths, finder, dataset, beside)
    unpacked = _unpack_embedded(paths, embedded, scratch, dataset.mended)
    for number, record in enumerate(records):
        try:
            image = _read_image(record, paths, dataset.mended)
            if image.path in unpacked:
                image.packed = f"{dataset.path}: {unpacked[image.path]}"
            if image.coco_id in images:
                raise InputError(f"id {image.coco_id} is used twice; give each image its own")
            images[image.coco_id] = image
            dataset.images.append(image)
        except InputError as error:
            source = f"{dataset.path}: image {_id_of(record, number)}"
            dataset.problems.append(Problem(printable(source), "image", printable(str(error))))
            bad[_id_at(record, "id")] = len(dataset.problems) - 1
    return images, bad


def _find(names: list[str], finder: PictureFinder, dataset: CocoDataset, beside: Path) -> dict[str, Path | InputError]:
    inside = dataset.path.is_relative_to(finder.root)
    of = dataset.path.relative_to(finder.root).as_posix() if inside else dataset.path.name
    return finder.find_all(names, beside=beside, mended=dataset.mended, mask_files=dataset.mask_files, of=of)


def _take_by_stem(
    name: str, paths: dict[str, Path | InputError], finder: PictureFinder, dataset: CocoDataset, beside: Path
) -> None:
    """The picture that has the label file's own name, where it was renamed with the file."""
    mended = Counter[str]()
    alike = f"{dataset.path.stem}.png"
    found = finder.find_all([alike], beside=beside, mended=mended, mask_files=dataset.mask_files)[alike]
    if isinstance(found, Path):
        dataset.mended["picture by the label file's own name"] += 1
        paths[name] = found


def _unpack_embedded(
    paths: dict[str, Path | InputError], embedded: Mapping[str, str], scratch: Path | None, mended: Counter[str]
) -> dict[Path, str]:
    """Write pictures that no file has, but the label file, and put them into `paths`; returns their names."""
    written: dict[Path, str] = {}
    for name, text in embedded.items():
        if not isinstance(paths.get(name), InputError) or (data := picture_in(text)) is None:
            continue
        if scratch is None:
            paths[name] = InputError(f"{name}: no such file; {_WITHIN}")
            continue
        path = put_picture(scratch, name, data)
        paths[name], written[path] = path, name
        mended["picture within the label file"] += 1
    return written


def _filled(record: dict[str, Any], image: CocoImage, mended: Counter[str]) -> dict[str, Any]:
    """With an RLE for polygons whose corners are pixels of the mask's contour, as supervision writes them."""
    try:
        rings = record["segmentation"]
        if not isinstance(rings, list) or not all(float(number).is_integer() for ring in rings for number in ring):
            return record
        found = filled(rings, height=image.height, width=image.width)
    except (KeyError, TypeError, ValueError):  # what is read as it stands says what is wrong
        return record
    mended["contour of supervision, whose corners are pixels"] += 1
    return {**record, "segmentation": found}


def _content(content: Any, path: Path, mended: Counter[str]) -> dict[str, Any]:
    if other := other_tool(content):
        raise InputError(f"{path}: {other}")
    content = usual_file(content, mended)
    if isinstance(content, dict):
        content = _listed(content, mended)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a COCO file: expected an object, found {type(content).__name__}")
    if isinstance(content.get("images"), list):
        content = {**content, "images": [usual_image(record, mended) for record in content["images"]]}
    if content.get("images") and isinstance(content["images"], list) and content.get("annotations") is None:
        content["annotations"] = _within_images(content["images"])
        mended["annotations within images" if content["annotations"] else "no list of annotations"] += 1
    for key in ("images", "annotations"):
        if not isinstance(content.get(key), list | StreamedAnnotations):
            raise InputError(f'{path}: not a COCO file: it needs a list "{key}"')
    return content


def _listed(content: dict[str, Any], mended: Counter[str]) -> dict[str, Any]:
    """With lists for objects of records by id."""
    for key in ("images", "annotations", "categories"):
        found = content.get(key)
        if isinstance(found, dict) and found and all(isinstance(each, dict) for each in found.values()):
            mended["records by id"] += len(found)
            content = {**content, key: [{"id": name, **each} for name, each in found.items()]}
    return content


def _within_images(images: list[Any]) -> list[Any]:
    """Annotations that each image holds itself, with its id."""
    return [
        {"image_id": image.get("id"), **record}
        for image in images
        if isinstance(image, dict) and isinstance(image.get("annotations"), list)
        for record in image["annotations"]
        if isinstance(record, dict)
    ]


def _id_of(record: Any, number: int) -> str:
    named = isinstance(record, dict) and isinstance(record.get("id"), int | str)
    return str(record["id"]) if named else f"number {number + 1}"


def _check_object(record: Any) -> None:
    if not isinstance(record, dict):
        raise InputError(f"expected an object, found {type(record).__name__}")


def _read_image(record: Any, paths: dict[str, Path | InputError], mended: Counter[str]) -> CocoImage:
    _check_object(record)
    coco_id, name, split = _id_at(record, "id"), name_of(record), record.get("split")
    if coco_id is None:
        raise InputError("it has no id")
    if name is None:
        raise InputError("it has no file_name")
    if isinstance(split, str) and split in _SPLITS:
        mended[f"split {split!r}"] += 1
        split = _SPLITS[split]
    if split is not None and split not in get_args(Split):
        raise InputError(f"split must be one of {', '.join(get_args(Split))}, found {split!r}")
    path = paths[name]
    if isinstance(path, InputError):
        raise path
    height, width = _size_of(record, path, mended)
    return CocoImage(coco_id, path, height, width, split)


def _size_of(record: dict[str, Any], path: Path, mended: Counter[str]) -> tuple[int, int]:
    """Height and width as the file claims them; of the picture where it claims none."""
    claimed = [record.get("height"), record.get("width")]
    if claimed == [None, None]:
        size = upright_size(path)
        mended["size of the picture missing"] += 1
        return size
    sizes = [whole(side) for side in claimed]
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sizes):
        raise InputError(f"height and width must be whole numbers above 0, found {claimed[0]!r} and {claimed[1]!r}")
    if any(not isinstance(side, int) for side in claimed):
        mended["size of the picture as float or text"] += 1
    return sizes[0], sizes[1]


def _categories(categories: Any) -> dict[Any, _Category]:
    if not isinstance(categories, list):
        return {}
    known = [c for c in categories if isinstance(c, dict) and isinstance(c.get("id"), int | str)]
    return {
        whole(category["id"]): _Category(str(category.get("name", "")), str(category.get("frequency", "")))
        for category in known
    }


def _id_at(record: Any, key: str) -> int | str | None:
    value = whole(record.get(key)) if isinstance(record, dict) else None
    return value if isinstance(value, int | str) else None


def _image_of(image_id: int | str | None, images: dict[int | str, CocoImage]) -> CocoImage:
    if image_id is None:
        raise InputError("it has no image_id")
    if image_id not in images:
        raise InputError(f"its image_id {image_id!r} is not among the images of the file")
    return images[image_id]


def _read_mask(
    record: dict[str, Any], image: CocoImage, categories: dict[Any, _Category], source: str, mended: Counter[str]
) -> CocoMask:
    if record.get("segmentation") is None or (record["segmentation"] == [] and record.get("bbox")):
        way_out = "; sam-engine masks makes masks of boxes" if record.get("bbox") else ""
        raise InputError(f"it has no segmentation: boxes, points and lines are no masks{way_out}")
    mask = mask_of(record["segmentation"], image.height, image.width, mended)
    if coco_mask.area(mask.coco()) == 0:
        raise InputError("the mask is empty")
    category_id = _id_at(record, "category_id")
    category = categories.get(category_id, _Category())
    return CocoMask(
        mask,
        printable(str(record.get("label", category.name))),
        is_flagged(record),
        printable(str(record.get("annotator", ""))),
        printable(source),
        category_id,
        category.frequency,
        annotation_id=_id_at(record, "id"),
    )
