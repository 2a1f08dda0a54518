"""One image of a release: its JPEG, its SA-1B json, its rows of the index."""

import hashlib
from dataclasses import dataclass
from typing import Any

from PIL import Image

from engine.files import nameless_file
from engine.images import decode_picture, read_original
from engine.release.privacy import Anonymizer
from engine.release.public_names import public_annotator, public_name
from engine.release.scaling import Scaling
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.mask import Mask
from schemas.sa1b import Sa1bRecord, image_record


@dataclass(frozen=True)
class ReleasedImage:
    """What a tar and its index take in for one image. `masks` and `image` are rows of schemas.release."""

    name: str
    jpeg: bytes
    record: bytes
    masks: list[dict[str, Any]]
    image: dict[str, Any]


def release_image(
    store: Store, image: dict[str, Any], masks: list[dict[str, Any]], *, tar: str, config: ReleaseConfig
) -> ReleasedImage:
    """Bring an image, a row of `images`, and its masks, rows of masks tables, to the size and form of a release.

    Rows come with their numbers, as `ShardReader` gives them.

    Raises InputError if the picture's file is gone or is not the one that was ingested.
    """
    file = store.picture(image)
    data = read_original(file, image["image_id"])
    picture = decode_picture(data, name=str(file), bit_depth=store.bit_depth)
    width, height = picture.size
    scaling = Scaling.to_shortest_side(height, width, shortest_side_px=config.shortest_side_px)
    # Looked at as it is released: what is found lies where it says, and what got too small to be seen costs nothing.
    anonymizer = Anonymizer.of(config)
    shown, blurred = anonymizer.picture(scaling.picture(picture))
    # Encoded anew also where the size stays: what the file said beside its pixels (place, camera) is not released.
    jpeg = _jpeg(shown, config.jpeg_quality)
    number = image["number"]
    name = f"sa_{number}"
    annotations, rows = [], []
    for mask, released in zip(masks, scaling.released([Mask.from_row(mask) for mask in masks]), strict=True):
        if released is not None:
            rows.append({"image_id": number, "tar": tar} | _index_row(mask, released))
            annotations.append(released.to_sa1b(mask["number"]))
    told = image_record(image_id=number, width=scaling.width, height=scaling.height, file_name=f"{name}.jpg")
    record = Sa1bRecord(image=told, annotations=annotations)
    row = {
        "image_id": number,
        "content_id": image["image_id"],
        "tar": tar,
        "file_name": f"{name}.jpg",
        "width": scaling.width,
        "height": scaling.height,
        "source": public_name(image["source"]),
        "source_width": width,
        "source_height": height,
        "split": image["split"],
        "masks": len(rows),
        "masks_lost": len(masks) - len(rows),
        "jpeg_bytes": len(jpeg),
        "jpeg_sha256": hashlib.sha256(jpeg).hexdigest(),
        "blur_detectors": list(anonymizer.detectors),
        "blurred": [region.row() for region in blurred],
        "country": image["country"],
    }
    return ReleasedImage(name, jpeg, record.to_json(), rows, row)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    """Pillow lets other threads of Python work while it encodes only where it writes to a file of the system's."""
    with nameless_file() as file:
        picture.save(file, format="JPEG", quality=quality)
        file.seek(0)
        return file.read()


def _index_row(row: dict[str, Any], mask: Mask) -> dict[str, Any]:
    """The row of the index: lineage as in the workspace's row, geometry of the released mask."""
    lineage = ("stage", "round", "origin", "model_id", "generator_config", "label")
    return {
        **{name: row[name] for name in lineage},
        "annotator": public_annotator(row["annotator"]),
        "id": row["number"],
        "content_id": row["mask_id"],
        "area": mask.area,
        "bbox_xyxy": mask.box,
        "predicted_iou": mask.predicted_iou,
        "stability_score": mask.stability_score,
        "crop_box_xyxy": mask.crop_box,
        "points": [{"x": x, "y": y, "label": label} for x, y, label in mask.prompt.points],
        "prompt_box_xyxy": mask.prompt.box or (),
    }
