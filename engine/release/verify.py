"""Checking a release: every file is the one that was written, every mask decodes and is what its record says."""

import io
import math
import tarfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pycocotools import mask as coco_mask

from engine import rle as rle_codec
from engine.places import Place, place
from engine.release.reader import Progress, names_in, read_index, read_manifest, tar_members
from engine.release.tars import describe_file
from schemas.errors import InputError
from schemas.mask import Mask
from schemas.release import IMAGE_INDEX, MANIFEST_FILE, MASK_INDEX, Manifest, ReleasedFile, ReleasedTar
from schemas.sa1b import Sa1bAnnotation, Sa1bImage, parse_record

_NEAR_PX = 1e-2  # the index rounds coordinates to float32


def verify_release(path: str | Path | Place, *, quick: bool = False, progress: Progress | None = None) -> list[str]:
    """Check a release, given its folder: checksums, counts, pictures, and every mask against its record and the index.

    Masks are decoded with pycocotools; area and box are counted on the decoded mask. quick: only which files there are,
    their sizes and the counts, without reading them. progress is called with ("verify", done, total) tars.
    Returns the problems, one line each, or none.
    """
    path = place(path)
    try:
        manifest = read_manifest(path)
    except InputError as error:
        return [str(error)]
    return problems_of(path, manifest, quick=quick, progress=progress)


def problems_of(path: Place, manifest: Manifest, *, quick: bool = False, progress: Progress | None = None) -> list[str]:
    """What `verify_release` finds where the manifest is known; it need not be in the folder yet."""
    problems = list(_wrong_names(path, manifest))
    for done, record in enumerate(manifest.tars, start=1):
        damaged = [problem for file in record.files() for problem in damage(path, file, quick=quick)]
        # What is damaged is told once, not once more for each mask in it.
        problems += damaged or ([] if quick else _wrong_contents(path, record))
        if progress is not None:
            progress("verify", done, len(manifest.tars))
    for file in (manifest.changes, manifest.card):
        problems += damage(path, file, quick=quick) if file else []
    for name in ("images", "masks", "masks_lost"):
        total = sum(getattr(record, name) for record in manifest.tars)
        if total != getattr(manifest, name):
            problems.append(f"{path / MANIFEST_FILE}: {name} is {getattr(manifest, name)}, its tars have {total}")
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
        for annotation in content.annotations:
            yield from _check_mask(f"{where}: mask {annotation.id}", annotation, indexed)
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


def _check_mask(where: str, annotation: Sa1bAnnotation, indexed: dict[int, dict[str, Any]]) -> Iterator[str]:
    row = indexed.pop(annotation.id, None)
    if row is None:
        yield f"{where}: not in the mask index, or twice in the tar"
        return
    segmentation = annotation.segmentation.model_dump()
    try:
        # pycocotools reads past the end of broken counts, so they are checked before it sees them.
        rle_codec.from_coco(segmentation, *annotation.segmentation.size)
    except InputError as error:
        yield f"{where}: {error}"
        return
    pixels = int(coco_mask.decode([segmentation]).sum())
    box = coco_mask.toBbox(segmentation).tolist()
    if annotation.area != pixels:
        yield f"{where}: area is {annotation.area}, the mask has {pixels} pixels"
    if list(annotation.bbox) != box:
        yield f"{where}: bbox is {list(annotation.bbox)}, that of the mask {box}"
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
        and bool(np.allclose(numbers, listed, rtol=0, atol=_NEAR_PX))
    )
