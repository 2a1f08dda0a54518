"""Reading COCO instance files: images with their masks, each annotation checked on its own.

One broken annotation or missing picture does not lose the file: it becomes a Problem with one clear line. Beside COCO's
own fields these are read: `split` ("train" or "holdout") of an image; `label` and `annotator` of an annotation.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pycocotools import mask as coco_mask

from engine import rle as rle_codec
from schemas.errors import InputError
from schemas.rle import Rle
from schemas.tables import Split


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


def read_coco(path: Path, *, images_root: Path | None = None) -> CocoDataset:
    """Read and check a COCO instance file. `file_name` is looked up in `images_root`, else beside the file.

    Masks have the size that the file claims for the image; compare it with the decoded (upright) picture.
    Raises InputError if the file is missing, no JSON, or lacks the lists `images` and `annotations`.
    """
    content = _load(path)
    root = images_root if images_root is not None else path.parent
    problems: list[Problem] = []
    images: dict[int | str, CocoImage] = {}
    bad: set[Any] = set()  # their annotations are not listed again one by one
    for number, record in enumerate(content["images"]):
        source = f"{path}: image {_id_of(record, number)}"
        try:
            image = _read_image(record, root)
            if image.coco_id in images:
                raise InputError(f"id {image.coco_id} is used twice; give each image its own")
            if not image.path.is_file():
                raise InputError(f"{image.path}: no such file; put it there or name its folder with --images")
            images[image.coco_id] = image
        except InputError as error:
            problems.append(Problem(source, "image", str(error)))
            bad.add(_image_id(record, "id"))
    labels = _category_names(content.get("categories", []))
    for number, record in enumerate(content["annotations"]):
        source = f"{path}: annotation {_id_of(record, number)}"
        try:
            image_id = _image_id(record, "image_id")
            if image_id not in images and image_id in bad:
                continue
            _check_object(record)
            image = _image_of(image_id, images)
            image.masks.append(_read_mask(record, image, labels, source))
        except InputError as error:
            problems.append(Problem(source, "mask", str(error)))
    return CocoDataset(path, list(images.values()), problems)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a COCO file: expected an object, found {type(content).__name__}")
    for key in ("images", "annotations"):
        if not isinstance(content.get(key), list):
            raise InputError(f'{path}: not a COCO file: it needs a list "{key}"')
    return content


def _id_of(record: Any, number: int) -> str:
    named = isinstance(record, dict) and isinstance(record.get("id"), int | str)
    return str(record["id"]) if named else f"number {number + 1}"


def _check_object(record: Any) -> None:
    if not isinstance(record, dict):
        raise InputError(f"expected an object, found {type(record).__name__}")


def _read_image(record: Any, root: Path) -> CocoImage:
    _check_object(record)
    coco_id, name, split = record.get("id"), record.get("file_name"), record.get("split")
    if not isinstance(coco_id, int | str):
        raise InputError("it has no id")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError("it has no file_name")
    sizes = [record.get("height"), record.get("width")]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise InputError(f"height and width must be whole numbers above 0, found {sizes[0]!r} and {sizes[1]!r}")
    if split is not None and split not in get_args(Split):
        raise InputError(f"split must be one of {', '.join(get_args(Split))}, found {split!r}")
    return CocoImage(coco_id, root / name, record["height"], record["width"], split)


def _category_names(categories: Any) -> dict[Any, str]:
    if not isinstance(categories, list):
        return {}
    known = [c for c in categories if isinstance(c, dict) and isinstance(c.get("id"), int | str)]
    return {category["id"]: str(category.get("name", "")) for category in known}


def _image_id(record: Any, key: str) -> int | str | None:
    value = record.get(key) if isinstance(record, dict) else None
    return value if isinstance(value, int | str) else None


def _image_of(image_id: int | str | None, images: dict[int | str, CocoImage]) -> CocoImage:
    if image_id is None:
        raise InputError("it has no image_id")
    if image_id not in images:
        raise InputError(f"its image_id {image_id!r} is not among the images of the file")
    return images[image_id]


def _read_mask(record: dict[str, Any], image: CocoImage, labels: dict[Any, str], source: str) -> CocoMask:
    mask = rle_codec.from_coco(record.get("segmentation"), image.height, image.width)
    if coco_mask.area(mask.coco()) == 0:
        raise InputError("the mask is empty")
    category = record.get("category_id")
    label = record.get("label", labels.get(category, "") if isinstance(category, int | str) else "")
    return CocoMask(mask, str(label), bool(record.get("iscrowd", 0)), str(record.get("annotator", "")), source)
