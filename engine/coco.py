"""Reading COCO instance files: images with their masks, each annotation checked on its own.

One broken annotation or missing picture does not lose the file: it becomes a Problem with one clear line. Beside COCO's
own fields these are read: `split` ("train" or "holdout") of an image; `label` and `annotator` of an annotation.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pycocotools import mask as coco_mask

from engine.images import upright_size
from engine.labels.crowds import CrowdFlags, Crowds, is_flagged
from engine.labels.importers import to_coco
from engine.labels.pictures import PictureFinder
from engine.labels.repairs import mask_of, whole
from engine.labels.streamed import StreamedAnnotations
from engine.labels.text import printable, read_label_file
from schemas.errors import InputError
from schemas.rle import Rle
from schemas.tables import Split

_SPLITS: dict[Any, Split] = {"val": "holdout", "valid": "holdout", "validation": "holdout"}


class Problem(NamedTuple):
    """Something that could not be taken: where it stands, what kind of thing it is, and why."""

    source: str
    kind: Literal["image", "mask", "file"]
    reason: str


@dataclass(frozen=True)
class CocoMask:
    """A mask of an image. `source` names it in messages; `annotator` is "" where the file does not tell."""

    rle: Rle
    label: str
    iscrowd: bool
    annotator: str
    source: str


@dataclass
class CocoImage:
    """An image whose file exists, of the size that the COCO file claims, with its good masks."""

    coco_id: int | str
    path: Path
    height: int
    width: int
    split: Split | None
    masks: list[CocoMask] = field(default_factory=list)


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
) -> CocoDataset:
    """As `read_coco`, of a file whose content was read, where `mended` was repaired."""
    imported = to_coco(content, path)
    content = _content(imported.content, path, mended)
    dataset = CocoDataset(path, [], [], mended, mask_files=imported.mask_files)
    finder = finder or PictureFinder(path.parent if images_root is None else images_root)
    images, bad = _read_images(content["images"], finder, dataset, finder.root if images_root else path.parent)
    labels, flags = _category_names(content.get("categories", [])), CrowdFlags()
    left_out: Counter[int] = Counter()
    for number, record in enumerate(_annotations(content, path)):
        flags.add(record)
        source = f"{path}: annotation {_id_of(record, number)}"
        try:
            image_id = _image_id(record, "image_id")
            if image_id not in images and image_id in bad:
                left_out[bad[image_id]] += 1
                continue
            _check_object(record)
            image = _image_of(image_id, images)
            image.masks.append(_read_mask(record, image, labels, source, mended))
        except InputError as error:
            dataset.problems.append(Problem(printable(source), "mask", printable(str(error))))
    for place, count in left_out.items():
        problem = dataset.problems[place]
        dataset.problems[place] = problem._replace(reason=f"{problem.reason} (its masks are left out with it: {count})")
    are_crowds, note = flags.believed(content["images"], crowds)
    dataset.notes.extend([f"{path}: {note}"] if note else [])
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
    records: list[Any], finder: PictureFinder, dataset: CocoDataset, beside: Path
) -> tuple[dict[int | str, CocoImage], dict[Any, int]]:
    """Images by id; and of bad ones, whose annotations are not listed one by one, the place of their problem."""
    images: dict[int | str, CocoImage] = {}
    bad: dict[Any, int] = {}
    names = [name for record in records if isinstance(record, dict) and (name := _name_of(record))]
    paths = finder.find_all(names, beside=beside, mended=dataset.mended, mask_files=dataset.mask_files)
    for number, record in enumerate(records):
        try:
            image = _read_image(record, paths, dataset.mended)
            if image.coco_id in images:
                raise InputError(f"id {image.coco_id} is used twice; give each image its own")
            images[image.coco_id] = image
            dataset.images.append(image)
        except InputError as error:
            source = f"{dataset.path}: image {_id_of(record, number)}"
            dataset.problems.append(Problem(printable(source), "image", printable(str(error))))
            bad[_image_id(record, "id")] = len(dataset.problems) - 1
    return images, bad


def _content(content: Any, path: Path, mended: Counter[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a COCO file: expected an object, found {type(content).__name__}")
    if content.get("images") and isinstance(content["images"], list) and content.get("annotations") is None:
        mended["no list of annotations"] += 1
        content["annotations"] = []
    for key in ("images", "annotations"):
        if not isinstance(content.get(key), list | StreamedAnnotations):
            raise InputError(f'{path}: not a COCO file: it needs a list "{key}"')
    return content


def _id_of(record: Any, number: int) -> str:
    named = isinstance(record, dict) and isinstance(record.get("id"), int | str)
    return str(record["id"]) if named else f"number {number + 1}"


def _check_object(record: Any) -> None:
    if not isinstance(record, dict):
        raise InputError(f"expected an object, found {type(record).__name__}")


def _read_image(record: Any, paths: dict[str, Path | InputError], mended: Counter[str]) -> CocoImage:
    _check_object(record)
    coco_id, name, split = _image_id(record, "id"), _name_of(record), record.get("split")
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


def _name_of(record: dict[str, Any]) -> str | None:
    names = (record.get(key) for key in ("file_name", "coco_url", "flickr_url", "path", "url"))
    return next((name for name in names if isinstance(name, str) and name and "\0" not in name), None)


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


def _category_names(categories: Any) -> dict[Any, str]:
    if not isinstance(categories, list):
        return {}
    known = [c for c in categories if isinstance(c, dict) and isinstance(c.get("id"), int | str)]
    return {whole(category["id"]): str(category.get("name", "")) for category in known}


def _image_id(record: Any, key: str) -> int | str | None:
    value = whole(record.get(key)) if isinstance(record, dict) else None
    return value if isinstance(value, int | str) else None


def _image_of(image_id: int | str | None, images: dict[int | str, CocoImage]) -> CocoImage:
    if image_id is None:
        raise InputError("it has no image_id")
    if image_id not in images:
        raise InputError(f"its image_id {image_id!r} is not among the images of the file")
    return images[image_id]


def _read_mask(
    record: dict[str, Any], image: CocoImage, labels: dict[Any, str], source: str, mended: Counter[str]
) -> CocoMask:
    mask = mask_of(record.get("segmentation"), image.height, image.width, mended)
    if coco_mask.area(mask.coco()) == 0:
        raise InputError("the mask is empty")
    category = whole(record.get("category_id"))
    label = record.get("label", labels.get(category, "") if isinstance(category, int | str) else "")
    annotator = str(record.get("annotator", ""))
    return CocoMask(mask, printable(str(label)), is_flagged(record), printable(annotator), printable(source))
