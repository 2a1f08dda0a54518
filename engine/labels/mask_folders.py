"""Masks as files of pixels, in a folder of their own or beside the pictures: a file a mask, or a number at each pixel.

They are PNG, TIFF, BMP or GIF; or JPEG, where all is nearly black or nearly white.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.images import SUFFIXES, upright_size
from engine.labels.mask_pictures import KINDS, has_few_values, is_deep, is_photograph, read_indices, read_samples
from schemas.errors import InputError

# Folders by whose names data sets tell what their PNG files are; numbers of objects, and everything else.
_OF_OBJECTS = frozenset({"segmentationobject", "instance", "instances", "instance_masks", "instanceids"})
_OF_MASKS = _OF_OBJECTS | {
    *("masks", "mask", "gt", "ground_truth", "groundtruth", "gtfine", "gtcoarse", "segmentationclass", "semantic"),
    *("segmentation", "segmentations", "semantic_rgb", "semantic_masks", "trainannot", "valannot", "testannot"),
    *("labels", "label", "labelids", "annotations", "binary_masks", "seg"),
}
# The folder of a mask itself may have more in its name: train_masks, Ground-Truth, ISIC_Training_GroundTruth.
_LIKE_MASKS = re.compile(r"(^|[^a-z])(masks?|gt)$|(masks|ground[ _-]?truths?)$", re.IGNORECASE)
_BEHIND = re.compile(
    r"(_gt(Fine|Coarse)_\w+|[_-]((cp_)?masks?|seg|segmentation|labels?|gt|instanceids|instance|class)([_-]?\d+)?)$",
    re.IGNORECASE,
)
_PICTURE_ENDS = re.compile(r"_(leftImg8bit|img|image|sat|rgb)$", re.IGNORECASE)  # of Cityscapes, Cellpose, DeepGlobe
_VOID = 255  # of Pascal VOC, the border between objects
_VOID_COLOUR = 224 + 256 * 224 + 65536 * 192
_SEVERAL = (
    "a mask of several values, which may be classes or objects; give a file for each object, or numbers of objects in "
    "a folder called SegmentationObject or instances"
)


@dataclass
class MaskFolders:
    """content: COCO records of the pictures and masks. mask_files: files that are no pictures. problems: (file, why
    no mask was taken of it). notes: what was assumed."""

    content: dict[str, Any] = field(default_factory=lambda: {"images": [], "annotations": []})
    mask_files: set[Path] = field(default_factory=set)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_mask_folders(files: Sequence[Path], folder: Path, *, described: frozenset[Path] = frozenset()) -> MaskFolders:
    """The masks of a folder's pictures in files of the same stem that lie in folders called masks, gt and so on; or
    beside the picture, with `_mask` and the like behind the stem.

    Numbers of objects are read from folders that say so in their name, else a mask has one value beside 0. Where
    the picture lies alone in `images`, all files of the `masks` beside it are its masks.
    described: pictures whose masks another file gives; their masks are only told from pictures.
    """
    found, pairs = MaskFolders(), _pairs(files, folder)
    of_objects = _folders_of_objects([mask for masks in pairs.values() for mask in masks], folder)
    found.notes += [
        f"{each}: the numbers in its files, of 16 bits, are taken for objects" for each in sorted(of_objects)
    ]
    for picture, masks in sorted(pairs.items()):
        found.mask_files.update(masks)
        if picture in described:
            continue
        try:
            height, width = upright_size(picture)
        except InputError:  # whoever decodes it says so
            continue
        number = len(found.content["images"])
        name = picture.relative_to(folder).as_posix()
        found.content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
        numbered = [mask for mask in masks if _tells_objects(mask, folder) or mask.parent in of_objects]
        for mask in numbered or masks:
            try:
                for label, pixels in _objects(mask, (height, width), of_objects=bool(numbered)):
                    record = {"id": f"{mask.relative_to(folder).as_posix()}{label}", "image_id": number}
                    found.content["annotations"].append(record | {"segmentation": rle_codec.encode(pixels).to_coco()})
            except InputError as error:
                found.problems.append((mask, str(error)))
    return found


def _pairs(files: Sequence[Path], folder: Path) -> dict[Path, list[Path]]:
    """For each picture the files that hold its masks."""
    readable = [path for path in files if path.suffix.lower() in SUFFIXES]
    masks = [path for path in readable if path.suffix.lower() in KINDS and in_mask_folder(path, folder)]
    outside = [path for path in readable if not in_mask_folder(path, folder)]
    found: dict[Path, list[Path]] = defaultdict(list)
    for picture, mask in _beside(outside):
        found[picture].append(mask)
    taken = {mask for of_picture in found.values() for mask in of_picture}
    pictures: dict[str, list[Path]] = defaultdict(list)
    alone: dict[Path, list[Path]] = defaultdict(list)
    for path in outside:
        if path not in taken:
            pictures[_PICTURE_ENDS.sub("", path.stem)].append(path)
            pictures[path.name].append(path)  # a.jpg.png is the mask of a.jpg
            alone[path.parent].append(path)
    for mask in masks:
        fitting = pictures.get(mask.stem) or pictures.get(_BEHIND.sub("", mask.stem)) or []
        beside = alone.get(mask.parent.parent / "images", [])
        if len(beside) == 1 and not fitting:
            fitting = beside
        if fitting and not is_photograph(mask):
            found[_nearest(fitting, mask)].append(mask)
    return found


def _beside(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Pictures, each with a mask in the same folder: of its size, of few values, with more behind the same stem."""
    by_stem = {(path.parent, _PICTURE_ENDS.sub("", path.stem)): path for path in paths}
    for mask in paths:
        bare = _BEHIND.sub("", mask.stem)
        picture = by_stem.get((mask.parent, bare)) if bare != mask.stem and mask.suffix.lower() in KINDS else None
        try:
            if picture and picture != mask and upright_size(picture) == upright_size(mask) and has_few_values(mask):
                yield picture, mask
        except InputError:  # whoever decodes it says so
            continue


def in_mask_folder(path: Path, folder: Path) -> bool:
    """Whether the name of a folder in which a file lies, at or below `folder`, is one that folders of masks have."""
    parts = path.relative_to(folder).parts[:-1]
    return any(part.lower() in _OF_MASKS for part in parts) or (bool(parts) and bool(_LIKE_MASKS.search(parts[-1])))


def _tells_objects(path: Path, folder: Path) -> bool:
    named = any(part.lower() in _OF_OBJECTS for part in path.relative_to(folder).parts[:-1])
    return named or path.stem.lower().endswith(("instanceids", "_cp_masks"))


def _folders_of_objects(masks: Sequence[Path], folder: Path) -> set[Path]:
    """Folders that do not say so, but hold a file of 16 bits whose numbers can only be those of objects."""
    found: set[Path] = set()
    for mask in masks:
        if mask.parent not in found and not _tells_objects(mask, folder) and is_deep(mask):
            numbers = read_indices(mask)
            if numbers is not None and _are_of_objects([int(value) for value in np.unique(numbers) if value]):
                found.add(mask.parent)
    return found


def _are_of_objects(values: list[int]) -> bool:
    """Whether values are class * 1000 + number, each class counted from 0 or 1, beside classes below 256; or 1 to N, of
    which there are more than classes."""
    large = [value for value in values if value > _VOID]
    if not large or large[0] < 1000:
        return bool(large) and values == list(range(1, len(values) + 1))
    of_class: dict[int, list[int]] = defaultdict(list)
    for value in large:
        of_class[value // 1000].append(value % 1000)
    return all(of[0] <= 1 and of == list(range(of[0], of[0] + len(of))) for of in of_class.values())


def _nearest(pictures: list[Path], mask: Path) -> Path:
    """The picture whose folders have most names in common with the mask's: the same subset."""
    return max(pictures, key=lambda picture: len(set(picture.parts) & set(mask.parts)))


def _objects(mask: Path, hw: tuple[int, int], *, of_objects: bool) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """What tells each object from the others in its file, and its pixels. Raises InputError where there is none."""
    numbers, coloured = read_indices(mask), False
    if numbers is None and (colours := read_samples(mask, "RGB")) is not None:
        numbers, coloured = colours.astype(np.int64) @ np.array([1, 256, 65536]), True
    if numbers is None:
        raise InputError("the file of a mask cannot be read, or is a JPEG of several values; save it as PNG")
    if numbers.shape != hw:
        found = f"{numbers.shape[1]}x{numbers.shape[0]}"
        raise InputError(f"the mask is {found} px, the upright picture {hw[1]}x{hw[0]} px")
    values = [int(value) for value in np.unique(numbers) if value and not (coloured and value == _VOID_COLOUR)]
    if of_objects:
        for value in values if coloured else _numbers_of_objects(values):
            yield f": object {value}", numbers == value
    elif len(values) > 1:
        raise InputError(_SEVERAL)
    elif values:
        yield "", numbers == values[0]
    else:
        raise InputError("the mask is empty")


def _numbers_of_objects(values: list[int]) -> list[int]:
    """Without what is no single object: Pascal VOC's border, regions of Cityscapes (below 1000) and KITTI (n * 256).

    Objects that are counted through have numbers below 256 too, as KITTI's class * 256 + number never has."""
    if not values or max(values) <= _VOID:
        return [value for value in values if value != _VOID]
    if max(values) >= 1000 and not any(_VOID < value < 1000 for value in values):
        return [value for value in values if value >= 1000]
    return values if values[0] <= _VOID else [value for value in values if value % 256]
