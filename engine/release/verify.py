"""Checking a release: every file is the one that was written, every mask decodes and is what its record says."""

import io
import math
import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image
from pycocotools import mask as coco_mask

from engine import rle as rle_codec
from engine.places import Place, place
from engine.processes import MapItems, Processes, Tell
from engine.progress import Progress
from engine.release.reader import names_in, read_index, read_manifest, tar_members
from engine.release.tars import describe_file
from schemas.errors import InputError
from schemas.mask import Mask
from schemas.release import IMAGE_INDEX, MANIFEST_FILE, MASK_INDEX, Manifest, ReleasedFile, ReleasedTar
from schemas.rle import Rle
from schemas.sa1b import BoxXYWH, Sa1bAnnotation, Sa1bImage, parse_record

_MANY_MASKS = 5000  # of a tar, from which on loading compiled code pays
_NEAR_PX = 1e-2  # the index rounds coordinates to float32


def verify_release(
    path: str | Path | Place,
    *,
    quick: bool = False,
    map_tars: MapItems = Processes(1),
    progress: Progress | None = None,
) -> list[str]:
    """Check a release, given its folder: checksums, counts, pictures, and every mask against its record and the index.

    Area and box of a mask are counted by pycocotools, another reader than ours. quick: only which files there are, with
    sizes and counts, without reading them. map_tars: by what the tars are read. progress is called with
    ("verify", done, total) tars.
    Returns the problems, one line each, or none.
    """
    path = place(path)
    try:
        manifest = read_manifest(path)
    except InputError as error:
        return [str(error)]
    return problems_of(path, manifest, quick=quick, map_tars=map_tars, progress=progress)


def problems_of(
    path: Place,
    manifest: Manifest,
    *,
    quick: bool = False,
    map_tars: MapItems = Processes(1),
    progress: Progress | None = None,
) -> list[str]:
    """What `verify_release` finds where the manifest is known; it need not be in the folder yet."""
    done = 0

    def advance(tars: int) -> None:
        nonlocal done
        done += tars
        if progress is not None:
            progress("verify", done, len(manifest.tars))

    problems = list(_wrong_names(path, manifest))
    for found in map_tars(partial(_tar_problems, path, quick), manifest.tars, advance):
        problems += found
    for file in manifest.beside_tars():
        problems += damage(path, file, quick=quick)
    for name in ("images", "masks", "masks_lost"):
        total = sum(getattr(record, name) for record in manifest.tars)
        if total != getattr(manifest, name):
            problems.append(f"{path / MANIFEST_FILE}: {name} is {getattr(manifest, name)}, its tars have {total}")
    return problems


def _tar_problems(path: Place, quick: bool, record: ReleasedTar, tell: Tell) -> list[str]:
    damaged = [problem for file in record.files() for problem in damage(path, file, quick=quick)]
    # What is damaged is told once, not once more for each mask in it.
    problems = damaged or ([] if quick else _wrong_contents(path, record))
    tell(1)
    return problems


def _wrong_names(path: Place, manifest: Manifest) -> Iterator[str]:
    for name in sorted(names_in(path) - manifest.file_names()):
        yield f"{path / name}: not in the manifest"


def damage(path: Place, file: ReleasedFile, *, quick: bool = False) -> Iterator[str]:
    """What is wrong with a file of the release in the folder `path`. quick: by its size alone."""
    size = (path / file.name).size()
    if size is None:
        yield f"{path / file.name}: missing"
        return
    if size != file.bytes or quick:
        if size != file.bytes:
            yield f"{path / file.name}: {size} bytes, the manifest says {file.bytes}"
        return
    found = describe_file(path, file.name)
    if found.sha256 != file.sha256:
        yield f"{path / file.name}: its sha256 is {found.sha256}, the manifest says {file.sha256}"


def _wrong_contents(path: Place, record: ReleasedTar) -> list[str]:
    tar = path / record.tar.name
    try:
        images = read_index(path / record.image_index.name, IMAGE_INDEX)
        masks = read_index(path / record.mask_index.name, MASK_INDEX)
        return list(_compare(tar, record, images, masks))
    except (OSError, EOFError, tarfile.TarError, pa.ArrowException, ValueError) as error:
        return [f"{tar}: cannot be read with its index: {' '.join(str(error).split())}"]


def _compare(
    tar: Place, record: ReleasedTar, images: list[dict[str, Any]], masks: list[dict[str, Any]]
) -> Iterator[str]:
    indexed = {row["id"]: row for row in masks}
    unseen = {row["file_name"]: row for row in images}
    n_images = n_masks = 0
    for name, jpeg, text in tar_members(tar):
        where = f"{tar}: {name}"
        n_images += 1
        row = unseen.pop(f"{name}.jpg", None)
        if row is None:
            yield f"{where}: not in the image index, or twice in the tar"
            continue
        yield from _check_picture(where, jpeg, row)
        try:
            content = parse_record(text, name=f"{where}.json")
        except InputError as error:
            yield str(error)
            # The masks of a record that cannot be read are not told one by one.
            for mask_id in [mask_id for mask_id, mask in indexed.items() if mask["image_id"] == row["image_id"]]:
                del indexed[mask_id]
            n_masks += row["masks"]
            continue
        n_masks += len(content.annotations)
        yield from _check_image(where, content.image, row)
        for annotation, counted in zip(
            content.annotations, _counted(content.annotations, many=record.masks > _MANY_MASKS), strict=True
        ):
            yield from _check_mask(f"{where}: mask {annotation.id}", annotation, counted, indexed)
    for name in unseen:
        yield f"{tar}: {name} is in the index and not in the tar"
    for mask_id in indexed:
        yield f"{tar}: mask {mask_id} is in the index and not in the tar"
    for what, found, stated in (("images", n_images, record.images), ("masks", n_masks, record.masks)):
        if found != stated:
            yield f"{tar}: {found} {what}, the manifest says {stated}"


def _check_picture(where: str, jpeg: bytes, row: dict[str, Any]) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            picture.load()
            width, height = picture.size
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        yield f"{where}.jpg: the picture does not decode: {' '.join(str(error).split())}"
        return
    if (width, height) != (row["width"], row["height"]):
        yield f"{where}.jpg: the picture is {width}x{height} px, in the index {row['width']}x{row['height']}"


def _check_image(where: str, image: Sa1bImage, row: dict[str, Any]) -> Iterator[str]:
    for name in ("image_id", "width", "height", "file_name"):
        if getattr(image, name) != row[name]:
            yield f"{where}.json: {name} is {getattr(image, name)}, in the index {row[name]}"


def _counted(annotations: Sequence[Sa1bAnnotation], *, many: bool) -> list[tuple[int, BoxXYWH] | None]:
    """Pixels and box of the masks of one picture by pycocotools; None for one whose counts are broken.

    It reads past the end of broken counts, so it never sees them.
    """
    masks = [each.segmentation for each in annotations]
    texts = [mask.counts.encode(errors="replace") for mask in masks]
    # All have the size of the picture, or the record would not have been parsed.
    is_broken = _broken(texts, *masks[0].size, many=many) if masks else np.zeros(0, dtype=bool)
    whole = [mask.model_dump() for mask, bad in zip(masks, is_broken, strict=True) if not bad]
    areas, boxes = (coco_mask.area(whole).tolist(), coco_mask.toBbox(whole).tolist()) if whole else ([], [])
    counted = iter(zip(areas, map(tuple, boxes), strict=True))
    return [None if bad else next(counted) for bad in is_broken]


def _broken(texts: Sequence[bytes], height: int, width: int, *, many: bool) -> npt.NDArray[np.bool_]:
    """Whether the compressed counts of each mask do not fill it. many: numba, which takes a moment, is worth it."""
    if not many:
        return np.array([_is_broken(Rle(height, width, text)) for text in texts])
    from engine.release.run_kernel import broken

    ends = np.cumsum([0, *map(len, texts)])
    found = np.zeros(len(texts), dtype=bool)
    room = np.empty(int(np.diff(ends).max()), dtype=np.int64)
    broken(np.frombuffer(b"".join(texts), dtype=np.uint8), ends, height * width, room, found)
    return found


def _is_broken(mask: Rle) -> bool:
    try:
        rle_codec.runs(mask)
    except InputError:
        return True
    return False


def _check_mask(
    where: str, annotation: Sa1bAnnotation, counted: tuple[int, BoxXYWH] | None, indexed: dict[int, dict[str, Any]]
) -> Iterator[str]:
    row = indexed.pop(annotation.id, None)
    if row is None:
        yield f"{where}: not in the mask index, or twice in the tar"
        return
    if counted is None:
        try:
            rle_codec.from_coco(annotation.segmentation.model_dump(), *annotation.segmentation.size)
        except InputError as error:
            yield f"{where}: {error}"
        return
    pixels, box = counted
    if annotation.area != pixels:
        yield f"{where}: area is {annotation.area}, the mask has {pixels} pixels"
    if annotation.bbox != box:
        yield f"{where}: bbox is {list(annotation.bbox)}, that of the mask {list(box)}"
    x0, y0, x1, y1 = row["bbox_xyxy"]
    if (row["area"], (x0, y0, x1 - x0, y1 - y0)) != (annotation.area, annotation.bbox):
        yield f"{where}: area or bbox differ from the index"
    for name in ("predicted_iou", "stability_score"):
        stated, listed = getattr(annotation, name), row[name]
        if stated != listed and not (stated is None and math.isnan(listed)):
            yield f"{where}: {name} is {stated}, in the index {listed}"
    if not _same_prompt(annotation, row):
        yield f"{where}: its prompt differs from the index"


def _same_prompt(annotation: Sa1bAnnotation, row: dict[str, Any]) -> bool:
    """Whether json and index tell one prompt. Before `prompt` was written, json had the points on the object alone."""
    told, whole = Mask.from_sa1b(annotation).prompt, annotation.prompt is not None
    points = [(point["x"], point["y"], point["label"]) for point in row["points"] if whole or point["label"] == 1]
    listed = [*chain.from_iterable(points), *(row["prompt_box_xyxy"] if whole else ())]
    numbers = [*chain.from_iterable(told.points), *(told.box or ())]
    return (
        annotation.point_coords == told.on_object
        and (len(numbers), len(told.points)) == (len(listed), len(points))
        and all(abs(number - other) <= _NEAR_PX for number, other in zip(numbers, listed, strict=True))
    )
