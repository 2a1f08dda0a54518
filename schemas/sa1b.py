"""Records of SA-1B: one JSON file a picture, as the dataset and segment-anything's generator write them.

Boxes in these files are XYWH, points (x, y), both in pixels of the picture. Numbers that nobody measured are null:
masks drawn by people have no predicted IoU and no stability score. Fields that other tools add are ignored on reading.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import InputError

Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
BoxXYWH = tuple[Coordinate, Coordinate, Length, Length]
Score = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Sa1bImage(_Record):
    """The picture; `file_name` is relative to the folder of the JSON file."""

    image_id: int
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    file_name: str = Field(min_length=1)


class Sa1bSegmentation(_Record):
    """COCO run-length encoding: size is (height, width), counts the compressed form."""

    size: tuple[int, int]
    counts: str = Field(min_length=1)


class Sa1bAnnotation(_Record):
    """One mask. `point_coords` is the prompt; `crop_box` the part of the picture that the model saw.

    `parent` is no field of SA-1B: the id of the smallest mask that contains this one, null where none does. It is
    there only where nesting was sought (`GeneratorConfig.store_nesting`).
    """

    id: int
    segmentation: Sa1bSegmentation
    bbox: BoxXYWH
    area: int = Field(ge=0)
    predicted_iou: Score | None
    stability_score: Score | None
    crop_box: BoxXYWH
    point_coords: list[tuple[Coordinate, Coordinate]]
    parent: int | None = None


class Sa1bRecord(_Record):
    """What one JSON file holds."""

    image: Sa1bImage
    annotations: list[Sa1bAnnotation]

    @model_validator(mode="after")
    def _annotations_fit_the_image(self) -> "Sa1bRecord":
        size = (self.image.height, self.image.width)
        seen: set[int] = set()
        for annotation in self.annotations:
            if annotation.segmentation.size != size:
                raise ValueError(
                    f"annotation {annotation.id}: its mask is of size {list(annotation.segmentation.size)}, "
                    f"the picture of {list(size)}"
                )
            if annotation.area > size[0] * size[1]:
                raise ValueError(f"annotation {annotation.id}: area {annotation.area} is larger than the picture")
            if annotation.id in seen:
                raise ValueError(f"annotation {annotation.id} occurs twice")
            seen.add(annotation.id)
        return self

    def to_json(self) -> bytes:
        """The file's bytes: UTF-8, fields in the order of SA-1B, `parent` only where it was given."""
        fields = self.model_dump(mode="json", exclude_unset=True)
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()


def image_record(*, image_id: int, width: int, height: int, file_name: str) -> Sa1bImage:
    """The picture's part of a record, sizes in pixels."""
    return Sa1bImage(image_id=image_id, width=width, height=height, file_name=file_name)


def annotation_record(
    *,
    annotation_id: int,
    height: int,
    width: int,
    counts: bytes,
    area: int,
    box_xyxy: Sequence[float],
    predicted_iou: float,
    stability_score: float,
    crop_box_xyxy: Sequence[float],
    points: Iterable[Sequence[float]],
) -> Sa1bAnnotation:
    """One mask's part of a record.

    counts: COCO's compressed counts of the (height, width) mask.
    box_xyxy: right and bottom exclusive, so that width and height in the file are COCO's.
    predicted_iou, stability_score: NaN where unknown. crop_box_xyxy: empty where the model saw the whole picture.
    points: the prompt, (x, y) each.
    """
    return Sa1bAnnotation(
        id=annotation_id,
        segmentation=Sa1bSegmentation(size=(height, width), counts=counts.decode("ascii")),
        bbox=_xywh(box_xyxy),
        area=area,
        predicted_iou=_known(predicted_iou),
        stability_score=_known(stability_score),
        crop_box=_xywh(crop_box_xyxy if len(crop_box_xyxy) else (0, 0, width, height)),
        point_coords=[(x, y) for x, y in points],
    )


def parse_record(data: bytes | str, *, name: str) -> Sa1bRecord:
    """Read and check a record. `name` is the file's, for the error.

    Whether counts decode to a mask of that size is for `engine.rle.from_coco` to say.
    Raises InputError that names the file, the field and what is wrong with it.
    """
    try:
        return Sa1bRecord.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise InputError(f"{name}: not an SA-1B record: {field + ': ' if field else ''}{message}") from error


def read_record(path: Path) -> Sa1bRecord:
    """Read and check the record of a file. Raises InputError if it cannot be read, or as `parse_record` does."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_record(data, name=str(path))


def _xywh(box_xyxy: Sequence[float]) -> BoxXYWH:
    x0, y0, x1, y1 = box_xyxy
    return x0, y0, x1 - x0, y1 - y0


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
