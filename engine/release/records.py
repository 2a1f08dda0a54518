"""One image of a release: its JPEG, its SA-1B json, its rows of the index."""

import hashlib
import io
import math
from dataclasses import dataclass
from typing import Any

from engine import rle as rle_codec
from engine.images import content_id, decode_image, read_bytes
from engine.release.scaling import Scaling
from engine.rle import Rle
from engine.rows import row_rle
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from schemas.sa1b import Sa1bAnnotation, Sa1bRecord, annotation_record, image_record


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

    Raises InputError if the picture's file is gone or is not the one that was ingested.
    """
    path = store.image_path(image)
    data = read_bytes(path)
    if content_id(data) != image["image_id"]:
        raise InputError(f"{path}: not the file that was ingested; put the original back and build the release again")
    pixels = decode_image(data, max_megapixels=math.inf, name=str(path))
    height, width, _ = pixels.shape
    scaling = Scaling.to_shortest_side(height, width, shortest_side_px=config.shortest_side_px)
    encoded = io.BytesIO()
    # Encoded anew also where the size stays: what the file said beside its pixels (place, camera) is not released.
    scaling.picture(pixels).save(encoded, format="JPEG", quality=config.jpeg_quality)
    name = f"sa_{image['image_id']}"
    annotations, rows = [], []
    for mask in masks:
        rle = scaling.mask(row_rle(mask))
        if rle is not None:
            rows.append(_mask_row(mask, rle, scaling, tar))
            annotations.append(_annotation(rows[-1], rle))
    picture = image_record(
        image_id=image["image_id"], width=scaling.width, height=scaling.height, file_name=f"{name}.jpg"
    )
    record = Sa1bRecord(image=picture, annotations=annotations)
    row = {
        "image_id": image["image_id"],
        "tar": tar,
        "file_name": f"{name}.jpg",
        "width": scaling.width,
        "height": scaling.height,
        "source": image["source"],
        "source_width": width,
        "source_height": height,
        "split": image["split"],
        "masks": len(rows),
        "masks_lost": len(masks) - len(rows),
        "jpeg_bytes": len(encoded.getvalue()),
        "jpeg_sha256": hashlib.sha256(encoded.getvalue()).hexdigest(),
    }
    return ReleasedImage(name, encoded.getvalue(), record.to_json(), rows, row)


def _mask_row(mask: dict[str, Any], rle: Rle, scaling: Scaling, tar: str) -> dict[str, Any]:
    """The row of the index: lineage as in the workspace, geometry of the released picture."""
    points = mask["points"]
    places = scaling.coordinates([value for point in points for value in (point["x"], point["y"])])
    lineage = ("mask_id", "image_id", "stage", "round", "origin", "annotator", "model_id", "generator_config", "label")
    return {
        **{name: mask[name] for name in lineage},
        "tar": tar,
        "area": rle_codec.area(rle),
        "bbox_xyxy": rle_codec.box_xyxy(rle).tolist(),
        "predicted_iou": mask["predicted_iou"],
        "stability_score": mask["stability_score"],
        "crop_box_xyxy": scaling.coordinates(mask["crop_box"]),
        "points": [
            {"x": x, "y": y, "label": point["label"]}
            for x, y, point in zip(places[0::2], places[1::2], points, strict=True)
        ],
        "prompt_box_xyxy": scaling.coordinates(mask["box"]),
    }


def _annotation(row: dict[str, Any], rle: Rle) -> Sa1bAnnotation:
    return annotation_record(
        annotation_id=row["mask_id"],
        height=rle.height,
        width=rle.width,
        counts=rle.counts,
        area=row["area"],
        box_xyxy=row["bbox_xyxy"],
        predicted_iou=row["predicted_iou"],
        stability_score=row["stability_score"],
        crop_box_xyxy=row["crop_box_xyxy"],
        # SA-1B has no labels of points, so clicks that say what is not of the mask stand in the index alone.
        points=[(point["x"], point["y"]) for point in row["points"] if point["label"] == 1],
    )
